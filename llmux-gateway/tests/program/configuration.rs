//! Configurations that a start refuses: the error is one line with the place and the allowed values.

use crate::support::{Server, copy_of_system_prompt, drop_in, edition, read, serve, system_prompt, text};

async fn refused(configuration: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = serve(&folder, configuration).args(arguments).output().await.expect("llmux runs");
    assert_eq!(output.status.code(), Some(1), "{configuration}");
    assert!(text(&output.stdout).is_empty(), "nothing was started");
    let stderr = text(&output.stderr);
    let line = stderr.lines().last().expect("a line").to_owned();
    let folder = folder.path().to_string_lossy();
    let line = line.strip_prefix("llmux: ").expect("the program's name");
    line.replace(&format!("{folder}/llmux.toml"), "llmux.toml").replace(&*folder, "")
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_file_line_and_what_is_allowed() {
    let provider = |rest: &str| format!("[[provider]]\nname = \"a\"\nmodels = [\"m\"]\n{rest}");
    let twice = provider("type = \"echo\"\n").repeat(2);
    let plugin = |rest: &str| format!("[[plugin]]\nname = \"tag\"\npath = \"{}\"\n{rest}", system_prompt());
    let cases = [
        (
            "[server]\nlisten_on = 5".to_owned(),
            "llmux.toml:2:1: unknown field `listen_on`, expected one of `listen`",
        ),
        (
            provider("type = \"opnai\""),
            "llmux.toml:4:8: unknown provider type `opnai`; the types are `openai` (any OpenAI-compatible API over HTTP), `echo`",
        ),
        (twice, "llmux.toml:6:8: a provider named `a` already exists"),
        (
            provider("type = \"openai\"\napi_key_env = \"LLMUX_TEST_NO_KEY\""),
            "llmux.toml:5:15: provider `a` takes its key from the environment variable LLMUX_TEST_NO_KEY: environment variable not found",
        ),
        (provider("type = \"openai\"\nbase_url = \"nowhere\""), "llmux.toml:2:8: "),
        (plugin(""), "llmux.toml:2:8: configuration of `tag` (plugin `system-prompt`): "),
        (
            plugin("config = { prompt = 5 }"),
            "llmux.toml:2:8: configuration of `tag` (plugin `system-prompt`): `/prompt`",
        ),
        (
            plugin("on_error = \"ignore\""),
            "llmux.toml:4:12: unknown variant `ignore`, expected `continue` or `fail`",
        ),
        (plugin("sha256 = \"12\""), "llmux.toml:4:10: a SHA-256 is 64 hexadecimal digits"),
        (plugin("").repeat(2), "llmux.toml:5:8: a plugin instance named `tag` already exists"),
        ("[plugins]\ndirs = [\"nowhere\"]".to_owned(), "plugin folder /nowhere: No such file"),
        (
            "[[api_key]]\nid = \"a\"\nsha256 = \"x\"".to_owned(),
            "llmux.toml:3:10: a SHA-256 is 64 hexadecimal digits",
        ),
        (
            "[[admin_token]]\nname = \"a\"\nsha256 = \"x\"\nrole = \"root\"".to_owned(),
            "llmux.toml:4:8: unknown variant `root`, expected `read` or `admin`",
        ),
        ("[server]\nadmin = \"0.0.0.0:0\"".to_owned(), "the admin listener 0.0.0.0:"),
        ("[log]\nlevel = \"loud=?\"".to_owned(), "log level `loud=?`: "),
    ];
    for (configuration, expected) in cases {
        let line = refused(&configuration, &[]).await;
        assert!(line.starts_with(expected), "{configuration}\n{line}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let library = drop_in(folder.path(), "libedition", &edition("one")[..4000]);
    let by_name = format!("[plugins]\ndirs = [{:?}]\n[[plugin]]\nname = \"edition\"\n", folder.path());
    let line = refused(&by_name, &[]).await;
    let files = format!("the manifest of these files cannot be read: {} (is not a", library.display());
    assert!(line.starts_with("no plugin named `edition` was found") && line.contains(&files), "{line}");
    let line = refused("", &["--config", "missing.toml"]).await;
    assert!(line.starts_with("configuration missing.toml: No such file"), "{line}");
}

#[tokio::test]
async fn a_port_in_use_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = crate::support::llmux(folder.path());
    let output = command.args(["serve", "--listen", &address]).output().await.expect("llmux runs");
    assert_eq!(
        text(&output.stderr).lines().last(),
        Some(&*format!(
            "llmux: cannot listen on {address}: the address is in use; choose another with --listen or [server] listen"
        ))
    );
}

#[tokio::test]
async fn d8_folders_are_autoloaded_but_for_what_is_configured_otherwise() {
    let plugins = tempfile::tempdir().expect("a folder");
    copy_of_system_prompt(plugins.path());
    let extension = std::env::consts::DLL_EXTENSION;
    std::fs::write(plugins.path().join(format!("libnoise.{extension}")), "noise").expect("written");
    let dir = plugins.path().to_string_lossy().into_owned();
    let list = async |configuration: &str| {
        let server = Server::with(configuration, &["--plugin-dir", &dir]).await;
        let (_, list) = read(crate::support::http().get(format!("{}/admin/plugins", server.admin))).await;
        server.signal("-TERM").await;
        (list["plugins"].as_array().expect("a list").clone(), server.end().await.1)
    };
    let (plugins, log) = list("").await;
    // Refused ones are listed with why, and are no instances.
    assert!(
        plugins.iter().all(|plugin| plugin["state"] == "failed"),
        "it needs a configuration: {plugins:?}"
    );
    assert!(log.contains("refused: configuration of `system-prompt`"), "{log}");
    assert!(log.contains("libnoise") && log.contains("is not a shared library"), "{log}");
    let instance = "[[plugin]]\nname = \"tag\"\nplugin = \"system-prompt\"\nconfig = { prompt = \"x\" }\n";
    let (plugins, _) = list(instance).await;
    let active: Vec<_> = plugins.iter().filter(|plugin| plugin["state"] == "active").collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["name"], "tag");
    let (plugins, log) = list(&format!("{instance}enabled = false")).await;
    assert!(plugins.iter().all(|plugin| plugin["state"] == "failed"), "{plugins:?}");
    assert!(!log.contains("system-prompt"), "not even tried: {log}");
}
