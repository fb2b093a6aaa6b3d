//! The template of a plugin's crate: its files, and their text with the placeholders filled in.
//!
//! `new_plugin` writes the files. The folder `plugin-template` is also a template of `cargo generate`; of that tool's
//! language, this file knows what the template uses: placeholders, and a choice by the form of `llmux`. Deliberately
//! absent: the check of the values.

/// Files of the template: name in the created crate, and text.
const FILES: [(&str, &str); 8] = [
    (".github/workflows/ci.yml", include_str!("../plugin-template/.github/workflows/ci.yml")),
    (".gitignore", include_str!("../plugin-template/.gitignore")),
    ("Cargo.toml", include_str!("../plugin-template/Cargo.toml.liquid")),
    ("LICENSE-APACHE", include_str!("../plugin-template/LICENSE-APACHE")),
    ("LICENSE-MIT", include_str!("../plugin-template/LICENSE-MIT")),
    ("README.md", include_str!("../plugin-template/README.md")),
    ("src/lib.rs", include_str!("../plugin-template/src/lib.rs")),
    ("tests/plugin.rs", include_str!("../plugin-template/tests/plugin.rs")),
];

/// Values of the placeholders.
pub(crate) struct Values<'a> {
    /// Name of the plugin and of its crate, in kebab case.
    pub(crate) name: &'a str,
    /// Description in one line.
    pub(crate) description: &'a str,
    /// Place of LLMux's crates: a git URL, an absolute path, or a version.
    pub(crate) llmux: &'a str,
}

/// Returns the files of a new crate: name, and text.
pub(crate) fn files(values: &Values<'_>) -> impl Iterator<Item = (&'static str, String)> {
    FILES.into_iter().map(|(name, text)| (name, render(text, values)))
}

/// Returns the name of a crate in code.
pub(crate) fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the name of the type that implements the trait `Plugin`.
pub(crate) fn type_name(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

/// Returns true if the code of the template uses an identifier.
pub(crate) fn uses(identifier: &str) -> bool {
    let code = FILES.iter().filter(|(name, _)| name.ends_with(".rs")).flat_map(|(_, text)| text.lines());
    let code = code.map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter()
        .any(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|it| it == identifier))
}

fn render(text: &str, values: &Values<'_>) -> String {
    choose(text, values.llmux)
        .replace("{{project-name}}", values.name)
        .replace("{{crate_name}}", &crate_name(values.name))
        .replace("{{crate_name | upper_camel_case}}", &type_name(values.name))
        .replace("{{llmux}}", values.llmux)
        .replace("{{description}}", values.description)
}

/// Replaces each `{% if llmux contains "…" -%} … {%- endif %}` by the first part whose condition holds.
fn choose(text: &str, llmux: &str) -> String {
    let mut chosen = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{% if ") {
        let (choice, after) = after.split_once("{%- endif %}").expect("the template ends each choice");
        let part = choice.split("{%- els").find_map(|part| {
            let (condition, part) = part.split_once(" -%}").expect("the template ends each condition");
            let sought = condition.split('"').nth(1);
            sought.is_none_or(|sought| llmux.contains(sought)).then_some(part)
        });
        chosen += before;
        chosen += part.unwrap_or_default().trim();
        rest = after;
    }
    chosen + rest
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    const VALUES: Values<'_> = Values { name: "my-signer", description: "Signs", llmux: "0.2" };

    /// Names of all files below a folder.
    fn names(folder: &Path, below: &str) -> BTreeSet<String> {
        let entries =
            fs::read_dir(folder.join(below)).expect("a folder").map(|entry| entry.expect("an entry"));
        let names = entries.flat_map(|entry| {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => names(folder, &format!("{name}/")),
                false => [name].into(),
            }
        });
        names.collect()
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_template() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-template");
        let mut there = names(&folder, "");
        // Settings of the other tool, and its ending for a file that cargo would take for a package.
        there.remove("cargo-generate.toml");
        let there: Vec<_> = there.iter().map(|name| name.trim_end_matches(".liquid")).collect();
        assert_eq!(there, FILES.map(|(name, _)| name));
    }

    #[test]
    fn no_placeholder_is_left() {
        for (name, text) in files(&VALUES) {
            assert!(!text.contains("{{") && !text.contains("{%"), "{name}: {text}");
        }
    }

    #[test]
    fn the_dependencies_name_a_repository_a_folder_or_a_version() {
        let lines = |llmux| {
            let (_, manifest) =
                files(&Values { llmux, ..VALUES }).find(|(name, _)| *name == "Cargo.toml").expect("one");
            manifest.lines().filter(|line| line.starts_with("llmux")).map(str::to_owned).collect::<Vec<_>>()
        };
        let of = |form: &str| {
            ["abi", "core", "testing"].map(|name| format!("llmux-{name} = {}", form.replace('_', name)))
        };
        let url = "https://example.com/llmux";
        assert_eq!(lines(url), of("{ git = \"https://example.com/llmux\" }"));
        assert_eq!(lines("/src/llmux"), of("{ path = \"/src/llmux/llmux-_\" }"));
        assert_eq!(lines("0.2"), of("\"0.2\""));
    }

    #[test]
    fn the_identifiers_of_the_code_are_known() {
        for used in ["Config", "Plugin", "Harness", "Ok"] {
            assert!(uses(used), "{used}");
        }
        for unused in ["MySigner", "Embeddings", "Tests"] {
            assert!(!uses(unused), "{unused}");
        }
    }
}
