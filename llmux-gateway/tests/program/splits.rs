//! `llmux plugin try --split every` on real libraries: the verdict, and the first split that changes what a client reads.

use serde_json::{Value, json};

use crate::{
    authors::{plugin_in, stumble},
    support::example,
};

/// Runs `llmux plugin try FILE --stream --split every …` on this answer of the provider.
async fn split(file: &str, answer: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let message = json!({"role": "assistant", "content": answer});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    std::fs::write(folder.path().join("answer.json"), body.to_string()).expect("written");
    let all = ["--stream", "--split", "every", "--sample", "chat", "--response", "answer.json"];
    plugin_in(folder.path(), "try", file, &[&all[..], arguments].concat()).await
}

#[tokio::test]
async fn t3_try_says_that_every_client_reads_the_same() {
    let redact = example("llmux-abi", "pii_redact");
    let answer = "Is it ada@example.com?";
    let expected = "chat: 24 splits of the answer: every client reads the same\n";
    let here = split(&redact, answer, &[]).await;
    assert_eq!(here, (Some(0), expected.to_owned(), String::new()));
    #[cfg(target_os = "linux")]
    assert_eq!(split(&redact, answer, &["--isolated"]).await, here);

    let (code, out, _) = split(&redact, answer, &["--json"]).await;
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &all["requests"][0]["splits"], all["requests"].as_array().map(Vec::len)),
        (Some(0), &json!(24), Some(1))
    );
    assert_eq!(all["requests"][0]["difference"], Value::Null, "{all}");
}

#[tokio::test]
async fn t3_try_names_the_first_split_that_a_client_reads() {
    let (code, out, error) = split(stumble(), "swallow this", &[]).await;
    let expected = r#"chat: split 9 of 14 changes what a client reads: choice 0, content comes as "swallow " and "this"
  choice 0, content: the client reads "THIS", expected "SWALLOW THIS"
"#;
    assert_eq!((code, &*out), (Some(1), expected));
    assert_eq!(error, "llmux: a split of the answer changes what a client reads\n");

    let (code, out, _) = split(stumble(), "swallow this", &["--json"]).await;
    let all: Value = serde_json::from_str(&out).expect("JSON");
    let difference = json!({
        "split": 9, "text": "choice 0, content", "pieces": ["swallow ", "this"], "failures": [],
        "read": {"choice 0, content": "THIS"}, "expected": {"choice 0, content": "SWALLOW THIS"},
    });
    assert_eq!((code, &all["requests"][0]["difference"]), (Some(1), &difference));
}

#[tokio::test]
async fn try_says_why_an_answer_cannot_be_split() {
    let (code, out, _) = split(stumble(), "Hi", &["--config", r#"{"how": "refuse"}"#]).await;
    let expected = "chat: the plugin did not pass the request on, so there is no answer to split\n";
    assert_eq!((code, &*out), (Some(0), expected));

    let (code, _, error) = split(stumble(), &"x".repeat(70_000), &[]).await;
    let expected = "llmux: --split: chat: the answer has 70000 bytes of text, and at most 16384 can be split; give a shorter answer\n";
    assert_eq!((code, &*error), (Some(1), expected));

    let folder = tempfile::tempdir().expect("a folder");
    let down = r#"{"status": 503, "error": {"message": "down"}}"#;
    std::fs::write(folder.path().join("down.json"), down).expect("written");
    let arguments = ["--stream", "--split", "every", "--sample", "chat", "--response", "down.json"];
    let (code, _, error) = plugin_in(folder.path(), "try", stumble(), &arguments).await;
    let expected = "llmux: --split: chat: the answer of the provider is an error, which has no texts: upstream_type (503): down\n";
    assert_eq!((code, &*error), (Some(1), expected));

    let (code, _, error) = plugin_in(folder.path(), "try", stumble(), &["--split", "every"]).await;
    assert!(
        code == Some(2) && error.contains("required arguments were not provided:\n  --stream\n"),
        "{error}"
    );
}
