//! `llmux plugin try` and `llmux plugin bench` on real libraries: the output that an author reads. In the expected
//! texts, `_` stands for a time and `FILE` for the library's path.

use std::{path::Path, sync::OnceLock};

use serde_json::Value;

use crate::support::{copy_of_system_prompt, example, llmux, system_prompt, text};

pub(crate) fn stumble() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| example("llmux-gateway", "stumble"))
}

/// Runs `llmux plugin COMMAND FILE …`. Returns the exit code, the output in a stable form, and the error.
pub(crate) async fn plugin(command: &str, file: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    plugin_in(folder.path(), command, file, arguments).await
}

pub(crate) async fn plugin_in(
    folder: &Path,
    command: &str,
    file: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let mut llmux = llmux(folder);
    let output = llmux.args(["plugin", command, file]).args(arguments).output().await.expect("llmux runs");
    (output.status.code(), stable(&text(&output.stdout), file), text(&output.stderr))
}

/// Replaces the parts that differ from run to run: a number before a unit of time, and the spaces that align it.
fn stable(out: &str, file: &str) -> String {
    let line = |line: &str| {
        let Some(hook) = line.strip_prefix("    ").filter(|line| line.contains(" bytes read, ")) else {
            return line.to_owned();
        };
        let (name, rest) = hook.split_once(' ').expect("a hook and its time");
        let (_, rest) = rest.trim_start().split_once(' ').expect("a number");
        let (_, rest) = rest.split_once(',').expect("a unit");
        format!("    {name} _,{rest}")
    };
    let lines: Vec<_> = out.lines().map(line).collect();
    lines
        .join("\n")
        .replace(file, "FILE")
        .replace(concat!(" ", env!("CARGO_PKG_VERSION"), ", "), " VERSION, ")
        + "\n"
}

#[tokio::test]
async fn try_shows_what_a_pre_hook_changes() {
    let config = r#"{"prompt": "Be brief."}"#;
    let arguments =
        ["--config", config, "--sample", "chat", "--sample", "conversation", "--sample", "embeddings"];
    let (code, out, error) = plugin("try", system_prompt(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let expected = r#"system-prompt VERSION, priority 50, FILE

chat: POST /v1/chat/completions
request
    {
      "model": "echo",
  -   "messages": [{"role": "user", "content": "Why is the sky blue?"}]
  +   "messages": [
  +     {"role": "system", "content": "Be brief."},
  +     {"role": "user", "content": "Why is the sky blue?"}
  +   ]
    }
response (200): unchanged
hooks
    pre_hook _, 0 bytes read, 39 written

conversation: POST /v1/chat/completions
request
      "user": "ada",
      "messages": [
  +     {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "You are a patient assistant."},
        {"role": "user", "content": "I am Ada, and I cannot log in."},
response (200): unchanged
hooks
    pre_hook _, 0 bytes read, 39 written

embeddings: POST /v1/embeddings
request: unchanged
response (200): unchanged
hooks
    pre_hook _, 0 bytes read, 0 written
"#;
    assert_eq!(out, expected);
}

#[tokio::test]
async fn try_shows_a_short_circuit_with_its_answer_and_metadata() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = r#"[{"contains": "sky", "text": "Rayleigh."}]"#;
    std::fs::write(folder.path().join("rules.json"), rules).expect("written");
    let (mock, config) = (example("llmux-abi", "mock"), r#"{"file": "rules.json"}"#);
    let arguments = ["--config", config, "--sample", "chat"];
    let (code, out, error) = plugin_in(folder.path(), "try", &mock, &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let (start, end) = (out.find("request:").expect("the request"), out.find("hooks\n").expect("the hooks"));
    let answer =
        out[start..end].lines().filter(|line| !line.contains("\"created\"") && !line.contains("\"id\""));
    let expected = r#"request: not passed on
short circuit: the plugin answered in place of the provider, with status 200
response (200)
  + {
  +   "object": "chat.completion",
  +   "model": "echo",
  +   "choices": [
  +     {
  +       "index": 0,
  +       "message": {"role": "assistant", "content": "Rayleigh."},
  +       "finish_reason": "stop"
  +     }
  +   ]
  + }
values and metadata in the context
    mock_rule = 0"#;
    assert_eq!(answer.collect::<Vec<_>>().join("\n"), expected);

    let stream = [&arguments[..], &["--stream"]].concat();
    let (code, out, _) = plugin_in(folder.path(), "try", &mock, &stream).await;
    assert_eq!(code, Some(0), "{out}");
    let answered = "\nshort circuit: the plugin answered in place of the provider, with status 200\nchunks: 2, of the plugin's own answer\n";
    assert!(out.contains(answered) && out.contains("\ntext: \"Rayleigh.\"\n"), "{out}");
}

#[tokio::test]
async fn try_shows_a_refusal_headers_values_logs_and_metrics() {
    let arguments = ["--config", r#"{"how": "refuse"}"#, "--sample", "chat"];
    let (code, out, error) = plugin("try", stumble(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "a refusal is an answer: {out}");
    let expected = r#"stumble VERSION, priority 100, FILE
logged by the construction
    INFO stumble: made

chat: POST /v1/chat/completions
request: not passed on
short circuit: the plugin answered in place of the provider, with status 429
error (429)
  + {
  +   "status": 429,
  +   "error": {
  +     "message": "too fast",
  +     "type": "rate_limit_exceeded",
  +     "param": null,
  +     "code": null
  +   },
  +   "retry_after": 1.5
  + }
values and metadata in the context
    bucket = "empty"
    step = 1
response headers
    x-stumble: yes
logged
    WARN stumble: about to act model=echo
hooks
    pre_hook _, 4 bytes read, 121 written

at the end
metrics
    stumble_seen_total{endpoint="chat/completions",plugin="stumble"} 1
"#;
    assert_eq!(out, expected);
}

#[tokio::test]
async fn try_shows_a_response_that_becomes_an_error() {
    let retry_json = example("llmux-abi", "retry_json");
    let (code, out, error) = plugin("try", &retry_json, &["--sample", "json"]).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert!(out.contains("\nrequest: unchanged\nresponse, changed into an error (502)\n"), "{out}");
    let message = "it is not JSON: expected value at line 1 column 1";
    assert!(out.lines().any(|line| line.starts_with("  + ") && line.contains(message)), "{out}");
    assert!(out.lines().any(|line| line.starts_with("  - ") && line.contains("three colors")), "{out}");

    // The same plugin lets a recorded answer pass that is what was asked for.
    let folder = tempfile::tempdir().expect("a folder");
    let answer = r#"{"choices": [{"index": 0, "message": {"role": "assistant", "content": "{\"red\": 1}"}, "finish_reason": "stop"}]}"#;
    std::fs::write(folder.path().join("answer.json"), answer).expect("written");
    let arguments = ["--sample", "json", "--response", "answer.json"];
    let (code, out, _) = plugin_in(folder.path(), "try", &retry_json, &arguments).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("\nresponse (200): unchanged\n"), "{out}");
}

#[tokio::test]
async fn try_shows_a_plugins_own_failures_and_exits_with_one() {
    let cases = [
        ("panic", "panicked: tripped over a wire", "10"),
        ("error", "stubbed a toe", "10"),
        ("wait", "ran past its timeout of 50ms", "0.05"),
    ];
    for (how, why, timeout) in cases {
        let config = format!(r#"{{"how": "{how}"}}"#);
        let arguments = ["--config", &config, "--sample", "chat", "--timeout", timeout];
        let (code, out, error) = plugin("try", stumble(), &arguments).await;
        assert_eq!(code, Some(1), "{how}: {out}");
        assert_eq!(error, format!("llmux: a hook failed: `stumble` in pre_hook: {why}\n"), "{how}");
        assert!(out.contains(&format!("\nfailed\n    `stumble` in pre_hook: {why}\n")), "{how}: {out}");
        assert!(out.contains("\nrequest: unchanged\n"), "what it edited is rolled back: {out}");
        assert!(!out.contains("x-stumble") && !out.contains("step = 1"), "{out}");
    }
    let (code, out, error) = plugin("try", stumble(), &["--config", r#"{"how": "error"}"#]).await;
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{out}");
    assert!(error.starts_with("llmux: 4 hooks failed, the first: `stumble` in pre_hook: "), "{error}");
}

#[tokio::test]
async fn try_shows_the_chunks_of_a_stream_that_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let question = r#"{"model": "mine", "messages": [{"role": "user", "content": "please swallow this"}]}"#;
    std::fs::write(folder.path().join("question.json"), question).expect("written");
    let arguments = ["--stream", "--request", "question.json"];
    let (code, out, error) = plugin_in(folder.path(), "try", stumble(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let start = out.find("\nquestion.json: ").expect("the run");
    let end = out.find("values in the context").expect("the values");
    let expected = r#"
question.json: POST /v1/chat/completions, streaming
request
      "messages": [{"role": "user", "content": "please swallow this"}],
      "stream": true,
  +   "stumbled": true
    }
chunks: 6 before the plugin, 5 behind it
    {"choices": [{"delta": {"content": "", "role": "assistant"}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
  - {"choices": [{"delta": {"content": "please "}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
  - {"choices": [{"delta": {"content": "swallow "}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
  - {"choices": [{"delta": {"content": "this"}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
  + {"choices": [{"delta": {"content": "PLEASE "}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
  + {"choices": [{"delta": {"content": "THIS"}, "finish_reason": null, "index": 0, "logprobs": null}], "usage": null}
    {"choices": [{"delta": {}, "finish_reason": "stop", "index": 0, "logprobs": null}], "usage": null}
    {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 3, "total_tokens": 6}}
text: "PLEASE THIS"
"#;
    assert_eq!(&out[start..end], expected);
}

#[tokio::test]
async fn try_writes_json_for_scripts() {
    let arguments = ["--sample", "chat", "--times", "2", "--json"];
    let (code, out, error) = plugin("try", stumble(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let all: Value = serde_json::from_str(&out).expect("JSON");
    let runs = all["runs"].as_array().expect("runs");
    assert_eq!((&all["plugin"]["name"], runs.len()), (&Value::from("stumble"), 2), "{all}");
    let run = &runs[1];
    assert_eq!(run["request"]["before"].get("stumbled"), None);
    assert_eq!(run["request"]["after"]["stumbled"], true);
    assert_eq!((&run["values"]["step"], &run["headers"]["x-stumble"]), (&1.into(), &"yes".into()));
    assert_eq!(run["logs"][0]["message"], "about to act model=echo");
    assert_eq!((&run["hooks"][0]["hook"], &run["hooks"][0]["calls"]), (&"pre_hook".into(), &1.into()));
    assert_eq!(all["metrics"][0], "stumble_seen_total{endpoint=\"chat/completions\",plugin=\"stumble\"} 2");

    let arguments = ["--sample", "chat", "--config", r#"{"how": "panic"}"#, "--json"];
    let (code, out, error) = plugin("try", stumble(), &arguments).await;
    let all: Value = serde_json::from_str(&out).expect("JSON, of what failed too");
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert_eq!(all["failures"][0], "`stumble` in pre_hook: panicked: tripped over a wire");
}

#[tokio::test]
async fn what_keeps_a_library_from_being_tried_is_one_line() {
    let (code, out, error) = plugin("try", system_prompt(), &[]).await;
    assert_eq!((code, &*out), (Some(1), "\n"));
    let missing = "llmux: configuration of `system-prompt`: \"prompt\" is a required property; give it with --config JSON\n";
    assert_eq!(error, missing);
    let (_, _, error) = plugin("bench", system_prompt(), &[]).await;
    assert_eq!(error, missing);

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("words.json"), "[1, ").expect("written");
    let in_folder = async |arguments: &[&str]| {
        let (code, _, error) = plugin_in(folder.path(), "try", stumble(), arguments).await;
        assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
        error
    };
    let error = in_folder(&["--request", "words.json"]).await;
    assert!(error.starts_with("llmux: --request words.json: "), "{error}");
    let error = in_folder(&["--response", "nowhere.json"]).await;
    assert!(error.starts_with("llmux: --response nowhere.json: "), "{error}");
    let error = in_folder(&["--header", "nothing"]).await;
    assert_eq!(error, "llmux: --header \"nothing\": a header is written as NAME: VALUE\n");
    let (code, _, error) = plugin("try", "/", &[]).await;
    assert_eq!((code, &*error), (Some(1), "llmux: /: is not a regular file\n"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_library_that_others_may_write_runs_with_a_note() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let copy = copy_of_system_prompt(folder.path());
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("set");
    let arguments = ["--config", r#"{"prompt": "Be brief."}"#, "--sample", "chat"];
    let (code, out, _) = plugin("try", copy.to_str().expect("text"), &arguments).await;
    assert_eq!(code, Some(0), "{out}");
    let note = "\nnote: a server would refuse FILE: its folder is writable by everyone; ";
    assert!(out.contains(note), "{out}");
}

#[tokio::test]
async fn bench_measures_each_hook_beside_one_that_does_nothing() {
    let config = r#"{"prompt": "Be brief."}"#;
    let arguments = ["-n", "20", "--config", config, "--json"];
    let (code, out, error) = plugin("bench", system_prompt(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&all["requests"], &all["statuses"]["200"]), (&20.into(), &20.into()));
    let hooks = all["hooks"].as_array().expect("hooks");
    let names: Vec<_> = hooks.iter().map(|hook| hook["hook"].as_str().expect("a name")).collect();
    assert_eq!(names, ["pre_hook"], "the only one that it writes");
    for hook in hooks {
        let time = |name: &str| hook[name].as_f64().expect("a time");
        assert!(0.0 < time("p50_ns") && time("p50_ns") <= time("p99_ns"), "{hook}");
        assert!(0.0 < time("noop_p50_ns") && time("noop_p50_ns") <= time("noop_p99_ns"), "{hook}");
        let ratio = time("p50_ns") / time("noop_p50_ns");
        assert!((time("ratio") - ratio).abs() < 1e-6, "{hook}");
    }
    // The message that it puts in front.
    assert_eq!((&hooks[0]["bytes_read"], &hooks[0]["bytes_written"]), (&0.0.into(), &39.0.into()));

    let arguments = ["-n", "10", "--config", config, "--stream"];
    let (code, out, error) = plugin("bench", system_prompt(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("HOOK ") && lines[0].ends_with("BYTES WRITTEN"), "{out}");
    assert!(lines[1].starts_with("pre_stream_hook "), "its `pre_hook` stands in: {out}");
    assert_eq!(lines[2], "10 streams (chat): 10 answered 200; bytes are per request");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn try_and_bench_run_a_library_in_a_child_process() {
    let config = r#"{"prompt": "Be brief."}"#;
    let arguments = ["--config", config, "--sample", "chat"];
    let here = plugin("try", system_prompt(), &arguments).await;
    let isolated = plugin("try", system_prompt(), &[&arguments[..], &["--isolated"]].concat()).await;
    assert_eq!(here, isolated);
    let (code, out, _) =
        plugin("try", stumble(), &["--isolated", "--sample", "chat", "--config", r#"{"how": "abort"}"#])
            .await;
    assert!(code == Some(1) && out.contains("SIGABRT"), "{code:?} {out}");

    let arguments = ["-n", "10", "--config", config, "--isolated"];
    let (code, out, error) = plugin("bench", system_prompt(), &arguments).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert!(out.starts_with("HOOK ") && out.contains("ISOLATED P50  ISOLATED P99  NO-OP P50"), "{out}");
    let (_, out, _) = plugin("bench", system_prompt(), &[&arguments[..], &["--json"]].concat()).await;
    let all: Value = serde_json::from_str(&out).expect("JSON");
    let time = |name: &str| all["hooks"][0][name].as_f64().expect("a time");
    assert!(0.0 < time("isolated_p50_ns") && time("isolated_p50_ns") <= time("isolated_p99_ns"), "{out}");
}

#[tokio::test]
async fn bench_says_how_many_hook_calls_failed() {
    let (code, out, error) =
        plugin("bench", stumble(), &["-n", "10", "--config", r#"{"how": "error"}"#]).await;
    assert_eq!(code, Some(1), "{out}");
    let said = "llmux: 11 hook calls of `stumble` failed; `llmux plugin try` shows why\n";
    assert_eq!(error, said, "ten, and the one that warms up");
}

#[tokio::test]
async fn both_have_examples_and_completions() {
    for command in ["try", "bench"] {
        let (code, out, _) = plugin(command, "--help", &[]).await;
        assert_eq!(code, Some(0));
        assert!(out.contains(&format!("  llmux plugin {command} ")), "{out}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = llmux(folder.path()).args(["completions", "bash"]).output().await.expect("llmux runs");
    let script = text(&output.stdout);
    assert!(
        script.contains("llmux__subcmd__plugin__subcmd__try") && script.contains("--response"),
        "{script}"
    );
}
