//! LLMux as a library: a client for language models with a pipeline of plugins around every call.

pub mod document;
mod endpoint;
pub mod error;
pub mod provider;
#[cfg(feature = "testing")]
pub mod testing;

pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind};
