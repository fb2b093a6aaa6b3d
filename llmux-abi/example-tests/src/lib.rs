//! The example that a test runs beside another one. The tests are in `tests/`, one file for each example in
//! `llmux-abi/examples`. A crate holds one plugin, so two examples of one test are in two crates.

#[path = "../../examples/retry_json.rs"]
pub mod retry_json;
