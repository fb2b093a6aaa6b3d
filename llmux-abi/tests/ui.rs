//! Compiler errors for wrong plugins, which an author reads before any page of documentation.
//!
//! The errors are snapshots. After a change here or in the compiler's messages,
//! `TRYBUILD=overwrite cargo test -p llmux-abi --test ui` updates them.

#[test]
fn wrong_plugins_get_errors_that_teach() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
