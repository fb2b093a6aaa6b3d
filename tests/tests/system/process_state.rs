//! A plugin that changes state of the whole process while it is loaded: the log names it, and reloads of the configuration
//! still find their files.

use std::fs;

use llmux_testing::Server;
use llmux_tests::c_libraries::link;
use serde_json::json;

use crate::configuration;

#[tokio::test]
async fn a_plugin_that_changes_signals_or_the_working_directory_is_named_and_breaks_no_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let configured = configuration("[plugins]\ndirs = [\"plugins\"]\n");
    let server = Server::within(folder, &configured, &["--config", "llmux.toml"]).await;
    let code = server.folder.path().join("dep.c");
    let source = "#include <signal.h>\n#include <unistd.h>\nunsigned llmux_dep(void) { return 1; }\n\
                  static void quiet(int signal) { (void)signal; }\n\
                  __attribute__((constructor)) static void begin(void) {\n\
                      signal(SIGUSR2, quiet); signal(SIGHUP, SIG_IGN); (void)!chdir(\"/\"); }\n";
    fs::write(&code, source).expect("written");
    let library = link(&server.folder.path().join("plugins/p.so"), &["-fPIC", &code.to_string_lossy()]);
    let loaded = json!({"path": library});
    assert_eq!(server.call("POST", "/admin/plugins", Some(&loaded)).await.0, 201);
    let (status, reloaded) = server.call("POST", "/admin/reload", None).await;
    assert_eq!(status, 200, "the file is found: {reloaded}");
    assert_eq!(server.call("POST", "/admin/plugins/guard/reload", None).await.0, 200);
    let log = server.stop().await;
    for part in [
        "the plugin changed the action of signals",
        "SIGHUP, SIGUSR2",
        "the plugin changed the working directory",
    ] {
        let line = log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}: {log}"));
        assert!(line.contains("guard"), "{line}");
    }
}
