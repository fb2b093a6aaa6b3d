//! The contract between LLMux and its plugins.
pub mod raw;
