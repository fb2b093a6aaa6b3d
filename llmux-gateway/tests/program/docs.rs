//! The `console` blocks of the documents: each command is run, and its output must be the output in the document.
//!
//! The commands run in a folder with the example plugins that the block names. Log lines on standard error are left
//! out, as in the documents. Durations are not compared.

use std::{fs, path::Path};

use llmux_testing::blocks;
use tokio::process::Command;

use crate::support::{example, llmux, text};

/// Returns the examples whose libraries a block names, such as `libmock.so`.
fn examples(block: &str) -> impl Iterator<Item = &str> {
    block.split("lib").skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once(".so")?;
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(name)
    })
}

/// Returns the output of a command, without the log.
async fn printed(command: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_llmux")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    // As `llmux` is set up for every other test.
    for (name, value) in llmux(folder).as_std().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("PATH", format!("{}:{path}", program.display()));
    let output = shell.args(["-c", command]).current_dir(folder).output().await.expect("sh runs");
    let is_log = |line: &&str| line.starts_with("20") && line.contains(" llmux");
    let errors = text(&output.stderr)
        .lines()
        .filter(|line| !is_log(line))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    text(&output.stdout) + &errors
}

/// Returns the text without its times and without the columns that contain them.
fn timeless(text: &str) -> String {
    let without = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_time = |at: usize| words.get(at + 1).is_some_and(|unit| matches!(*unit, "us," | "ms," | "s,"));
        let timeless: Vec<&str> =
            (0..words.len()).map(|at| if is_time(at) { "_" } else { words[at] }).collect();
        if timeless == words { line.to_owned() } else { timeless.join(" ") }
    };
    text.lines().map(|line| without(line) + "\n").collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_documents_show_what_the_program_prints() {
    let blocks = blocks::blocks(&["console"]);
    assert!(!blocks.is_empty(), "the documents show no commands");
    for block in blocks {
        let folder = tempfile::tempdir().expect("a folder");
        for name in examples(&block.text) {
            let copy = folder.path().join(format!("lib{name}.so"));
            fs::copy(example("llmux-abi", name), copy).expect("copied");
        }
        let rules = blocks::root().join("llmux-abi/examples/mock.json");
        fs::copy(rules, folder.path().join("mock.json")).expect("copied");
        let mut shown = String::new();
        for line in block.text.lines().filter(|line| line.starts_with("$ ")) {
            shown += &format!("{line}\n{}", printed(&line[2..], folder.path()).await);
        }
        assert!(
            timeless(&shown) == timeless(&block.text),
            "{block} shows\n{}\nand it is\n{shown}",
            block.text
        );
    }
}
