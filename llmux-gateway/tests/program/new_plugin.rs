//! `llmux plugin new`: its output, and the commands that create nothing. `tests/tests/template.rs` builds and loads a
//! created plugin.

use std::{fs, path::Path};

use llmux_testing::blocks::root;

use crate::support::{llmux, text};

/// Runs `llmux plugin new …` in a folder. Returns the exit code, the output and the error.
async fn new(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = llmux(folder).args(["plugin", "new"]).args(arguments).output().await.expect("llmux runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Returns the names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_new_plugin_names_the_place_of_its_crates_and_the_next_steps() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, error) = new(folder.path(), &["mine", "--llmux", "https://example.com/llmux"]).await;
    assert_eq!((code, &*error), (Some(0), ""));
    let start =
        "created `mine`; it uses the crates of LLMux from https://example.com/llmux\n\nNext:\n  cd mine\n";
    assert!(out.starts_with(start), "{out}");
    let manifest = fs::read_to_string(folder.path().join("mine/Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("llmux-abi = { git = \"https://example.com/llmux\" }\n"), "{manifest}");

    // The default of this build, whatever its version.
    let (code, out, _) = new(folder.path(), &["other"]).await;
    assert_eq!(code, Some(0));
    let place = out.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a place");
    let manifest = fs::read_to_string(folder.path().join("other/Cargo.toml")).expect("a manifest");
    assert!(manifest.contains(&format!("\"{place}\"")), "{out}{manifest}");
}

#[tokio::test]
async fn a_folder_that_exists_is_refused_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("mine")).expect("a folder");
    fs::write(folder.path().join("mine/notes"), "mine").expect("written");
    let (code, out, error) = new(folder.path(), &["mine"]).await;
    assert_eq!((code, &*out), (Some(1), ""));
    assert_eq!(error, "llmux: `mine` exists already; choose another name\n");
    assert_eq!(names(&folder.path().join("mine")), ["notes"]);
}

#[tokio::test]
async fn wrong_arguments_create_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let docs = root().join("docs");
    let docs = docs.to_str().expect("UTF-8");
    let wrong: [(&[&str], &str); 5] = [
        (&["My_Plugin"], "llmux: `My_Plugin` is not a valid name for a plugin: use at most 64 of a-z, "),
        (&["async"], "llmux: `async` is not a valid name for a plugin: cargo or the compiler reserves it; "),
        (&["host"], "llmux: `host` is not a valid name for a plugin: the code of a plugin uses `Host` "),
        (
            &["mine", "--llmux", docs],
            &format!("llmux: --llmux {docs}: no `llmux-abi/Cargo.toml` is there; pass "),
        ),
        (&["mine", "--description", "a\nb"], "llmux: --description is one line without '\\n'; "),
    ];
    for (arguments, expected) in wrong {
        let (code, out, error) = new(folder.path(), arguments).await;
        assert_eq!((code, &*out), (Some(1), ""), "{arguments:?}");
        assert!(error.starts_with(expected), "{arguments:?}: {error}");
    }
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}
