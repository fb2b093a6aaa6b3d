//! What a compiler says of wrong plugins: an author reads these errors before any page of documentation.
//!
//! Snapshots: `TRYBUILD=overwrite cargo test -p llmux-abi --test ui` writes them anew after a change, or after a
//! new compiler that words its part differently.

#[test]
fn wrong_plugins_get_errors_that_teach() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
