//! The manifest reader on any bytes: it ends within its memory, and every manifest that it accepts is valid.
//!
//! ```sh
//! cd tests/fuzz
//! cargo run --example seeds
//! cargo fuzz run --fuzz-dir . --sanitizer none manifest corpus/manifest -- -max_len=65536
//! ```
//!
//! `--sanitizer none` works with stable Rust. The reader is safe code, so a fault is a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llmux_core::plugins::Manifest;

fuzz_target!(|bytes: &[u8]| {
    // As the section of a file, and as the JSON alone.
    let json = bytes.strip_prefix(b"LLMUXPLG").unwrap_or(bytes);
    for read in [Manifest::read(bytes), Manifest::parse(json)] {
        let Ok(manifest) = read else { continue };
        assert!((1..=64).contains(&manifest.name.len()));
        assert!(manifest.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        assert!(manifest.entry.strip_prefix("llmux_plugin_").is_some_and(|name| !name.is_empty()));
        let texts = [&manifest.description, &manifest.authors, &manifest.license, &manifest.target];
        assert!(texts.iter().all(|text| !text.chars().any(char::is_control)));
        let again = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        assert_eq!(Manifest::parse(&again).expect("what was accepted is accepted again"), manifest);
    }
});
