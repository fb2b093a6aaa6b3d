//! Reloads of the configuration while the program runs: a reload applies the whole configuration or nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::sha256,
    support::{Server, error, http, read, system_prompt, text, until},
};

fn plugin(name: &str, prompt: &str, rest: &str) -> String {
    format!(
        "[[plugin]]\nname = \"{name}\"\npath = \"{}\"\nconfig = {{ prompt = \"{prompt}\" }}\n{rest}\n",
        system_prompt()
    )
}

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\", \"echo-request\"]\n";

fn write(server: &Server, configuration: &str) {
    server.configure(configuration);
}

async fn prompts(server: &Server) -> Vec<String> {
    let body = server.upstream_body().await;
    let messages = body["messages"].as_array().expect("messages").iter();
    messages.map(|message| message["content"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn l2_a_difference_is_taken_over_as_one_and_the_answer_says_what_it_is() {
    let before = format!("{ECHO}{}{}", plugin("a", "A", "priority = 1"), plugin("b", "B", "priority = 2"));
    let server = Server::with(&before, &[]).await;
    let by_hand =
        json!({"path": system_prompt(), "name": "by-hand", "priority": 9, "config": {"prompt": "H"}});
    assert_eq!(read(server.admin(Method::POST, "/admin/plugins").json(&by_hand)).await.0, 201);
    let missing = server.admin(Method::POST, "/admin/plugins").json(&json!({"path": "/nowhere/lib.so"}));
    assert_eq!(error(missing).await.0, 422);
    assert_eq!(prompts(&server).await, ["H", "B", "A", "Hello"]);

    let after = format!(
        "[server]\nlisten = \"127.0.0.1:9\"\n[pipeline]\nmax_plugins = 7\npre_hook_timeout = \"3s\"\n{ECHO}{}{}\n[[api_key]]\nid = \"x\"\nsha256 = \"{}\"\n",
        plugin("a", "AA", "priority = 3"),
        plugin("c", "C", "priority = 2"),
        sha256("secret"),
    );
    write(&server, &after);
    let (status, answer) = read(server.admin(Method::POST, "/admin/reload")).await;
    assert_eq!(status, 200, "{answer}");
    let line = |what: &str, name: &str, change: &str| {
        answer["changed"].as_array().expect("a list").iter().any(|line| {
            line["what"] == what && line["change"] == change && (name.is_empty() || line["name"] == name)
        })
    };
    assert!(line("plugin", "a", "changed") && line("plugin", "b", "removed"), "{answer}");
    assert!(line("plugin", "c", "added") && line("pipeline", "", "changed"), "{answer}");
    assert!(line("api_key", "x", "added"), "{answer}");
    assert_eq!(answer["needs_restart"], json!(["server.listen"]));
    let body = json!({"model": "echo-request", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(error(server.post("/v1/chat/completions", &body)).await.0, 401, "keys are asked for now");
    let (status, answer) = read(server.post("/v1/chat/completions", &body).bearer_auth("secret")).await;
    assert_eq!(status, 200);
    let sent: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().expect("text"))
            .expect("JSON");
    let prompts: Vec<_> = sent["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(prompts, ["H", "AA", "C", "Hello"], "what the admin API loaded is left alone");

    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    assert!(log.contains("configuration reloaded: ") && log.contains("who=\"local\""), "{log}");
    let loaded = log.lines().find(|line| line.contains("plugin loaded") && line.contains("by-hand"));
    let loaded = loaded.expect("an audit line");
    assert!(loaded.contains("llmux::audit") && loaded.contains("who=\"local\""), "{loaded}");
    assert!(
        log.lines().any(|line| line.contains("what=\"load\"") && line.contains("/nowhere/lib.so")),
        "{log}"
    );
}

#[tokio::test]
async fn d3_a_wrong_file_changes_nothing_and_says_why() {
    let before = format!("{ECHO}{}", plugin("a", "A", ""));
    let server = Server::with(&before, &[]).await;
    let missing = "[[plugin]]\nname = \"c\"\npath = \"/nowhere/lib.so\"\n";
    let cases = [
        ("[server\n".to_owned(), "llmux.toml:1:8: "),
        (format!("{ECHO}{}{missing}", plugin("a", "changed", "")), "/nowhere/lib.so: cannot be read"),
        (format!("{ECHO}{}", plugin("a", "A", "sha256 = \"00\"")), "a SHA-256 is 64 hexadecimal digits"),
        (
            format!(
                "{ECHO}[[plugin]]\nname = \"a\"\npath = \"{}\"\nconfig = {{ prompt = 5 }}",
                system_prompt()
            ),
            "/prompt",
        ),
        (
            format!("{ECHO}[[provider]]\nname = \"x\"\ntype = \"none\"\nmodels = [\"m\"]"),
            "unknown provider type",
        ),
    ];
    for (configuration, expected) in cases {
        write(&server, &configuration);
        let (status, refused) = error(server.admin(Method::POST, "/admin/reload")).await;
        assert_eq!((status, &refused["code"]), (422, &json!("configuration_refused")), "{configuration}");
        assert!(refused["message"].as_str().expect("text").contains(expected), "{refused}");
        assert_eq!(prompts(&server).await, ["A", "Hello"], "{configuration}");
    }
    // The signal does the same, and tells the log.
    server.signal("-HUP").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(prompts(&server).await, ["A", "Hello"]);
    write(&server, &format!("{ECHO}{}", plugin("a", "Again", "")));
    server.signal("-HUP").await;
    until("the signal is heard", async || prompts(&server).await == ["Again", "Hello"]).await;
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("configuration refused, everything is as it was: "), "{log}");
    assert!(log.contains("who=\"config\""), "{log}");
}

#[tokio::test]
async fn d3_a_reload_that_fails_in_its_last_change_has_applied_none_of_the_others() {
    let a_and_b =
        |a: &str, b: &str| format!("{}{}", plugin("a", a, "priority = 1"), plugin("b", b, "priority = 2"));
    let server = Server::with(&format!("{ECHO}{}", a_and_b("A", "B")), &[]).await;
    assert_eq!(prompts(&server).await, ["B", "A", "Hello"]);
    let (_, before) = read(http().get(format!("{}/admin/plugins", server.admin))).await;
    let lasting = |list: &Value| -> Vec<Value> {
        let of =
            |it: &Value| json!([it["name"], it["state"], it["priority"], it["generation"], it["loaded_at"]]);
        list["plugins"].as_array().expect("a list").iter().map(of).collect()
    };
    // Everything changes that can, and what comes last cannot be made.
    let after = format!(
        "[server]\nmax_body_bytes = 10\n[pipeline]\npre_hook_timeout = \"1ms\"\n[retry]\nmax_retries = 0\n\
         [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"another\"]\n\
         [[fallback]]\nmodel = \"echo-request\"\nto = \"another\"\n\
         [[api_key]]\nid = \"x\"\nsha256 = \"{}\"\n[[admin_token]]\nname = \"t\"\nsha256 = \"{}\"\nrole = \"admin\"\n\
         {}{}{}",
        sha256("secret"),
        sha256("token"),
        plugin("a", "AA", "priority = 9"),
        plugin("c", "C", ""),
        "[[plugin]]\nname = \"d\"\nplugin = \"nobody\"\n",
    );
    write(&server, &after);
    let (status, refused) = error(server.admin(Method::POST, "/admin/reload")).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused["message"].as_str().expect("text").contains("no plugin named `nobody`"), "{refused}");

    assert_eq!(prompts(&server).await, ["B", "A", "Hello"], "providers, keys, body limit, plugins");
    until("what was made for nothing is gone", async || {
        lasting(&read(http().get(format!("{}/admin/plugins", server.admin))).await.1) == lasting(&before)
    })
    .await;
    let (_, models) = read(server.get("/v1/models")).await;
    assert!(!models.to_string().contains("another"), "{models}");
    let url = format!("{}/admin/plugins/a/enable", server.admin);
    assert_eq!(error(http().post(url).bearer_auth("token")).await.0, 401, "the new token");
    assert_eq!(read(server.admin(Method::POST, "/admin/plugins/a/enable")).await.0, 200, "the old token");
    let old = std::fs::read_to_string(server.token_file()).expect("a token");
    // What was compared with stays, too: mended, all of it is new.
    write(&server, &after.replace("[[plugin]]\nname = \"d\"\nplugin = \"nobody\"\n", ""));
    let (status, answer) = read(server.admin(Method::POST, "/admin/reload")).await;
    assert_eq!((status, answer["changed"].as_array().map(Vec::len)), (200, Some(10)), "{answer}");
    let url = format!("{}/admin/plugins/a/enable", server.admin);
    assert_eq!(error(http().post(url).bearer_auth(old)).await.0, 401, "the old token");
}

#[tokio::test]
async fn instances_are_switched_and_updated_by_the_file_and_by_commands() {
    let server = Server::with(&format!("{ECHO}{}", plugin("a", "A", "")), &[]).await;
    write(&server, &format!("{ECHO}{}", plugin("a", "A", "enabled = false")));
    let reloaded = server.llmux(&["reload"]).await;
    assert_eq!(text(&reloaded.stdout), "plugin `a` changed (enabled)\n", "{}", text(&reloaded.stderr));
    assert_eq!(server.plugin("a").await["state"], "disabled");
    write(&server, &format!("{ECHO}{}", plugin("a", "A", "priority = 4")));
    assert!(server.llmux(&["reload"]).await.status.success());
    let a = server.plugin("a").await;
    assert_eq!((&a["state"], &a["priority"], &a["generation"]), (&json!("active"), &json!(4), &json!(1)));
    assert_eq!(text(&server.llmux(&["reload"]).await.stdout), "nothing is different\n");

    let set =
        ["plugin", "set", "a", "--priority", "-2", "--on-error", "fail", "--config", r#"{"prompt": "Set"}"#];
    let set = server.llmux(&set).await;
    assert_eq!(
        text(&set.stdout),
        concat!(
            "changed a (system-prompt ",
            env!("CARGO_PKG_VERSION"),
            ", priority -2, generation 1, active)\n"
        )
    );
    assert_eq!(prompts(&server).await, ["Set", "Hello"]);
    assert_eq!(server.llmux(&["plugin", "set", "a"]).await.status.code(), Some(2));

    let (status, _) = read(http().get(format!("{}/admin/plugins", server.admin))).await;
    assert_eq!(status, 200);
    let url = format!("{}/admin/reload", server.admin);
    assert_eq!(error(http().post(url)).await.0, 401, "a reload needs the token");
}

/// Returns the settings of the plugin `a`, its generation, and a count that shows whether this instance has answered
/// since the start.
async fn settings(server: &Server) -> Value {
    let a = server.plugin("a").await;
    let calls =
        a["hooks"].as_array().expect("hooks").iter().filter(|hook| hook["hook"] == "pre_hook").count();
    json!([a["priority"], a["on_error"], a["generation"], calls])
}

#[tokio::test]
async fn d4_a_setting_that_goes_from_the_file_or_is_null_is_the_plugins_own_again_on_the_same_image() {
    let own = format!("{ECHO}{}", plugin("a", "A", ""));
    let set = format!("{ECHO}{}", plugin("a", "A", "priority = 4\non_error = \"fail\""));
    let server = Server::with(&set, &[]).await;
    assert_eq!(prompts(&server).await, ["A", "Hello"]);
    assert_eq!(settings(&server).await, json!([4, "fail", 1, 1]));
    write(&server, &own);
    let reloaded = server.llmux(&["reload", "--force"]).await;
    assert_eq!(text(&reloaded.stdout), "plugin `a` changed (on_error, priority)\n");
    assert_eq!(settings(&server).await, json!([50, "continue", 1, 1]), "by the file");

    write(&server, &set);
    assert!(server.llmux(&["reload"]).await.status.success());
    let clear = json!({"priority": null, "on_error": null, "force": true});
    assert_eq!(read(server.admin(Method::PATCH, "/admin/plugins/a").json(&clear)).await.0, 200);
    assert_eq!(settings(&server).await, json!([50, "continue", 1, 1]), "by null");

    let on = ["plugin", "set", "a", "--priority", "9", "--on-error", "fail"];
    assert!(server.llmux(&on).await.status.success());
    let off = ["plugin", "set", "a", "--default", "priority", "--default", "on-error", "--force"];
    let off = server.llmux(&off).await;
    assert_eq!(
        text(&off.stdout),
        concat!(
            "changed a (system-prompt ",
            env!("CARGO_PKG_VERSION"),
            ", priority 50, generation 1, active)\n"
        ),
        "{}",
        text(&off.stderr)
    );
    let both = server.llmux(&["plugin", "set", "a", "--priority", "9", "--default", "priority"]).await;
    assert_eq!(text(&both.stderr), "llmux: `priority` is both set and reset to its default\n");

    // This plugin's configuration has no default: the refusal says so, and all is as it was.
    let (status, refused) =
        error(server.admin(Method::PATCH, "/admin/plugins/a").json(&json!({"config": null}))).await;
    assert_eq!((status, &refused["code"]), (422, &json!("invalid_config")), "{refused}");
    assert_eq!(prompts(&server).await, ["A", "Hello"]);
    let retired = read(http().get(format!("{}/admin/plugins", server.admin))).await.1["retired"].clone();
    assert_eq!(retired["count"], 0, "no image was left");
}
