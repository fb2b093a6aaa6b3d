//! Compares `ARCHITECTURE.md` with the repository: each path exists, each `module::item` is defined there, each claim
//! that a crate uses another is what its manifest says, and the glossary is short.
//!
//! The order of the layers, which the page draws, is enforced by `structure.rs`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use llmux_testing::blocks::root;

const PAGE: &str = include_str!("../../ARCHITECTURE.md");

/// Folders of sources, by the name that code gives the crate.
const CRATES: [(&str, &str); 3] = [
    ("llmux_abi", "llmux-abi/src"),
    ("llmux_core", "llmux-core/src"),
    ("llmux_gateway", "llmux-gateway/src"),
];

/// Terms that the glossary may have at most.
const MOST_TERMS: usize = 20;

/// Code spans of the page outside of its blocks.
fn spans() -> Vec<&'static str> {
    let prose = PAGE.split("\n```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// Returns true for a relative path, such as `llmux-core/src` or `docs/guide/`.
fn is_path(span: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let parts: Vec<&str> = span.trim_end_matches('/').split('/').collect();
    (parts.len() > 1 || span.ends_with(".md") || span.ends_with(".toml"))
        && parts.iter().all(|it| is_name(it))
}

/// Returns true for a path of modules, such as `document::scan`.
fn is_item(span: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    span.contains("::") && span.split("::").all(is_name)
}

/// Text of a file, or of every Rust file below a folder.
fn text_of(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("text");
    }
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.is_dir() || path.extension().is_some_and(|it| it == "rs"))
        .map(|it| text_of(&it))
        .collect()
}

/// Returns true if the text defines an item, a field aside.
fn defines(text: &str, item: &str) -> bool {
    const KINDS: [&str; 9] =
        ["fn ", "struct ", "enum ", "trait ", "mod ", "const ", "static ", "type ", "macro_rules! "];
    KINDS.iter().any(|kind| {
        text.match_indices(&format!("{kind}{item}")).any(|(at, found)| {
            let next = text[at + found.len()..].chars().next().unwrap_or(' ');
            !next.is_ascii_alphanumeric() && next != '_'
        })
    })
}

/// File or folder of a module, below a folder of sources.
fn module(sources: &Path, names: &[&str]) -> Option<PathBuf> {
    if names.is_empty() {
        return Some(sources.to_owned());
    }
    let folder = names.iter().fold(sources.to_owned(), |path, name| path.join(name));
    [folder.clone(), folder.with_extension("rs")].into_iter().find(|path| path.exists())
}

/// Returns true if some crate defines the item: a module, an item of a module, or a method of a type.
fn is_defined(span: &str) -> bool {
    let names: Vec<&str> = span.split("::").collect();
    let named = CRATES.iter().find(|(name, _)| *name == names[0]);
    let (crates, names) = match named {
        Some(one) => (vec![one], &names[1..]),
        None => (CRATES.iter().collect(), &names[..]),
    };
    crates.iter().any(|(_, sources)| {
        let sources = root().join(sources);
        let (item, of) = names.split_last().expect("a name");
        let is_in_module = || module(&sources, of).is_some_and(|place| defines(&text_of(&place), item));
        let is_method = || {
            let (Some((kind, of)), true) = (of.split_last(), !of.is_empty()) else { return false };
            let place = module(&sources, of);
            place.is_some_and(|place| {
                let text = text_of(&place);
                defines(&text, kind) && defines(&text, item)
            })
        };
        module(&sources, names).is_some() || is_in_module() || is_method()
    })
}

#[test]
fn every_path_of_the_architecture_exists() {
    let paths: Vec<_> = spans().into_iter().filter(|span| is_path(span)).collect();
    assert!(paths.len() > 20, "only {} paths were found", paths.len());
    for path in paths {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which does not exist");
    }
}

#[test]
fn every_item_of_the_architecture_is_defined_there() {
    let items: Vec<_> = spans().into_iter().filter(|span| is_item(span)).collect();
    assert!(items.len() > 10, "only {} items were found", items.len());
    for item in items {
        assert!(is_defined(item), "ARCHITECTURE.md names {item}, which is not defined there");
    }
}

/// Crates of the project that a crate depends on.
fn dependencies(user: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(user).join("Cargo.toml"));
    let manifest = manifest.unwrap_or_else(|error| panic!("{user} is not a crate: {error}"));
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("dependencies");
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let names = dependencies.lines().filter_map(|line| line.split([' ', '.', '=']).next());
    names.filter(|name| name.starts_with("llmux-")).map(str::to_owned).collect()
}

#[test]
fn every_crate_uses_what_the_architecture_says() {
    let mut claims = 0;
    for line in PAGE.lines() {
        for (verb, holds) in [("` uses `", true), ("` does not use `", false)] {
            let Some((user, used)) = line.strip_prefix("- `").and_then(|line| line.split_once(verb)) else {
                continue;
            };
            claims += 1;
            let used: BTreeSet<String> = used.split('`').step_by(2).map(str::to_owned).collect();
            let used: BTreeSet<String> = used.into_iter().filter(|name| name.starts_with("llmux-")).collect();
            let real = dependencies(user);
            if holds {
                assert_eq!(used, real, "crates that {user} uses");
            } else {
                assert!(used.is_disjoint(&real), "{user} uses one of {used:?}");
            }
        }
    }
    assert!(claims >= 5, "only {claims} claims were found");
}

#[test]
fn the_architecture_names_the_places_of_unsafe_code_that_tidy_allows() {
    let tidy = fs::read_to_string(root().join("tests/tests/tidy.rs")).expect("text");
    let (_, places) = tidy.split_once("const UNSAFE").expect("the places");
    let (places, _) = places.split_once("];").expect("the end of the places");
    let allowed: Vec<&str> =
        places.split('"').skip(1).step_by(2).map(|it| it.trim_end_matches('/')).collect();
    let invariant =
        PAGE.split("**Architecture Invariant:**").find(|text| text.contains("unsafe code stands in"));
    let spans: Vec<&str> = invariant.expect("the invariant").split('`').skip(1).step_by(2).collect();
    let named: Vec<&str> = spans.into_iter().filter(|span| is_path(span)).collect();
    for place in &allowed {
        assert!(named.contains(place), "ARCHITECTURE.md does not name {place} as a place of unsafe code");
    }
    assert_eq!(named.len(), allowed.len(), "{named:?}");
}

#[test]
fn the_glossary_is_short_and_each_term_stands_once() {
    let (_, glossary) = PAGE.split_once("\n## Glossary\n").expect("a glossary");
    let glossary = glossary.split("\n## ").next().unwrap_or_default();
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| **")?.split("**").next());
    let mut terms: Vec<&str> = rows.collect();
    assert!((10..=MOST_TERMS).contains(&terms.len()), "the glossary has {} terms", terms.len());
    terms.sort_unstable();
    assert!(terms.windows(2).all(|pair| pair[0] != pair[1]), "a term stands twice: {terms:?}");
}
