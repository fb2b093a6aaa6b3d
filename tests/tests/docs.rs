//! Checks the documents: blocks of Rust, C and C++ are code that other tests compile and run, JSON parses, links have targets.
//!
//! Elsewhere: `llmux-gateway` reads the TOML with its own parser (`config.rs`), knows every `llmux` command that is
//! shown (`cli.rs`), and runs the `console` blocks (`tests/program/docs.rs`).

use std::{fs, path::Path};

use llmux_testing::blocks::{blocks, documents, root};

/// Languages of blocks. `layers` is the order of modules, which `structure.rs` reads. `text` is everything that no test
/// can check: charts, and the output of one run.
const LANGUAGES: [&str; 9] = ["c", "console", "cpp", "json", "layers", "rust", "sh", "text", "toml"];

/// Folders whose Rust files are compiled, and run, by tests.
const COMPILED: [&str; 4] =
    ["docs/guide", "llmux-abi/examples", "llmux-abi/example-tests/tests", "llmux-core/examples"];

/// File that `llmux plugin new` makes of the template for the name `my-plugin`.
fn generated(file: &str) -> String {
    let template =
        fs::read_to_string(root().join("plugin-template").join(file)).expect("a file of the template");
    template
        .replace("{{description}}", "Signs every answer")
        .replace("{{project-name}}", "my-plugin")
        .replace("{{crate_name}}", "my_plugin")
        .replace("{{crate_name | upper_camel_case}}", "MyPlugin")
}

/// Returns true if the block is a run of whole lines of a file, at any indentation.
fn is_part(block: &str, file: &str) -> bool {
    let file: Vec<&str> = file.lines().collect();
    let block: Vec<&str> = block.lines().collect();
    file.windows(block.len()).any(|part| {
        let lines = || part.iter().filter(|line| !line.is_empty());
        let depth = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
        part.iter().zip(&block).all(|(line, shown)| line.get(depth..).unwrap_or_default() == *shown)
    })
}

#[test]
fn every_rust_block_is_code_that_is_compiled_and_run() {
    let mut files = vec![generated("src/lib.rs"), generated("tests/plugin.rs")];
    for folder in COMPILED {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of code") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(fs::read_to_string(path).expect("text"));
            }
        }
    }
    let blocks = blocks(&["rust"]);
    assert!(blocks.len() > 20, "only {} blocks were found", blocks.len());
    for block in blocks {
        let is_compiled = files.iter().any(|file| is_part(&block.text, file));
        assert!(is_compiled, "{block}: no file in {COMPILED:?} has these lines:\n{}", block.text);
    }
}

#[test]
fn every_block_of_c_and_cpp_is_part_of_an_example() {
    for (language, example) in [("c", "c/guard.c"), ("cpp", "cpp/lines.cpp")] {
        let file = fs::read_to_string(root().join("llmux-abi/examples").join(example)).expect("an example");
        let blocks = blocks(&[language]);
        assert!(!blocks.is_empty(), "no block of {language} was found");
        for block in blocks {
            assert!(
                is_part(&block.text, &file),
                "{block}: {example} does not have these lines:\n{}",
                block.text
            );
        }
    }
}

#[test]
fn every_file_of_code_of_the_guide_is_compiled() {
    let tests = fs::read_to_string(root().join("llmux-abi/example-tests/tests/guide.rs")).expect("text");
    for entry in fs::read_dir(root().join("docs/guide")).expect("the guide") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            assert!(
                tests.contains(&format!("/{name}\"]")),
                "tests/guide.rs does not compile docs/guide/{name}"
            );
        }
    }
}

#[test]
fn every_json_block_is_json() {
    for block in blocks(&["json"]) {
        let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(parsed.is_ok(), "{block}: {}", parsed.expect_err("wrong"));
    }
}

#[test]
fn every_block_says_what_it_is() {
    let known = blocks(&LANGUAGES).len();
    let mut all = 0;
    for path in documents() {
        let text = fs::read_to_string(path).expect("text");
        all += text.lines().filter(|line| line.starts_with("```") && *line != "```").count();
    }
    // The charts of the documents at the root have no language.
    assert_eq!(all, known, "a block has another language than {LANGUAGES:?}");
}

#[test]
fn the_cargo_manifest_that_is_shown_is_the_templates() {
    let manifest = generated("Cargo.toml.liquid");
    for block in blocks(&["toml"]) {
        if let Some(shown) = block.text.strip_prefix("# Cargo.toml\n") {
            assert!(is_part(shown, &manifest), "{block}: the template says otherwise");
        }
    }
}

#[test]
fn the_chinese_readme_has_every_part_of_the_readme() {
    let blocks_of = |readme: &str| -> Vec<String> {
        let blocks = blocks(&["rust", "sh", "json"]).into_iter().filter(|block| block.document == readme);
        blocks.map(|block| block.text).collect()
    };
    assert_eq!(blocks_of("README.md"), blocks_of("README.zh-CN.md"), "the blocks differ");
    // The levels of the headings, the names in the first column of tables, and the links.
    let parts_of = |readme: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join(readme)).expect("text");
        let mut parts = Vec::new();
        for line in text.lines() {
            match line.split_once(' ') {
                Some((level, _)) if level.starts_with('#') => parts.push(level.to_owned()),
                _ => parts.extend(
                    line.strip_prefix("| `").and_then(|row| row.split('`').next()).map(str::to_owned),
                ),
            }
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            parts.extend(links.filter(|link| !link.starts_with("README")).map(str::to_owned));
        }
        parts
    };
    assert_eq!(parts_of("README.md"), parts_of("README.zh-CN.md"), "headings, tables or links differ");
}

#[test]
fn the_documents_install_the_tool_that_the_tests_use() {
    let tests = fs::read_to_string(root().join("tests/tests/template.rs")).expect("text");
    let version = tests.split("VERSION: &str = \"").nth(1).and_then(|rest| rest.split('"').next());
    let command = format!("cargo install --locked cargo-generate --version {}", version.expect("a version"));
    let text = fs::read_to_string(root().join("docs/guide/five-minutes.md")).expect("text");
    assert!(text.contains(&command), "docs/guide/five-minutes.md lacks: {command}");
}

#[test]
fn the_readmes_are_under_150_lines() {
    for readme in ["README.md", "README.zh-CN.md"] {
        let lines = fs::read_to_string(root().join(readme)).expect("text").lines().count();
        assert!(lines < 150, "{readme} has {lines} lines");
    }
}

#[test]
fn no_heading_is_a_question() {
    const STARTS: [&str; 9] =
        ["What ", "Who ", "Whoever ", "How ", "Where ", "Why ", "Those ", "Somebody ", "Nobody "];
    for path in documents() {
        let text = fs::read_to_string(&path).expect("text");
        for line in text.lines().filter(|line| line.starts_with('#')) {
            let heading = line.trim_start_matches('#').trim_start();
            let is_question = heading.ends_with('?') || STARTS.iter().any(|start| heading.starts_with(start));
            assert!(!is_question, "{}: {line}", path.display());
        }
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for path in documents() {
        let text = fs::read_to_string(&path).expect("text");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let shown = path.display();
            assert!(target.exists(), "{shown} links to {link}, which is not there");
            assert!(
                heading.is_empty() || has_heading(&target, heading),
                "{shown} links to {link}, and there is no such heading"
            );
        }
    }
}

/// Returns true if a document has a heading to which GitHub gives this anchor.
fn has_heading(document: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(document).expect("text");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let line = line.trim_start_matches('#').trim().to_lowercase();
        let kept = line.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    });
    anchors.into_iter().any(|there| there == anchor)
}

#[test]
fn every_hazard_names_tests_that_are_there() {
    let mut code = String::new();
    let mut folders: Vec<_> = ["tests", "llmux-core", "llmux-abi", "llmux-gateway", "builtin-plugins"]
        .map(|it| root().join(it))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of code") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).expect("text");
            }
        }
    }
    let page = fs::read_to_string(root().join("docs/hazards.md")).expect("text");
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| hazard")).collect();
    assert!(rows.len() > 30, "only {} hazards were found", rows.len());
    for row in rows {
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last column");
        for name in held_by.split(", ") {
            let name = name.trim_matches('`');
            let is_there =
                [format!("fn {name}("), format!("{name}: |world|")].iter().any(|it| code.contains(it));
            assert!(is_there, "no test is called `{name}`, which should hold: {row}");
        }
    }
}
