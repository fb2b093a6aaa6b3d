//! What tests of plugins, of embedders' programs and of LLMux itself stand on. Behind the feature `testing`.
//!
//! No code of the library itself calls it.

mod chain;
mod upstream;

pub use chain::Chain;
pub use upstream::{Answer, Received, ScriptedUpstream};
