//! What tests of plugins, of embedders' programs and of LLMux itself stand on. Behind the feature `testing`.
//!
//! A plugin's author wants [`Harness`]: see [`harness`] for a whole test. No code of the library itself calls
//! any of this.

pub mod harness;
mod logs;
mod reply;
mod script;
mod traffic;
mod upstream;

pub use harness::{Harness, HarnessBuilder};
pub use logs::Log;
pub use reply::HarnessReply;
pub use traffic::Traffic;
pub use upstream::{Answer, Received, ScriptedUpstream};
