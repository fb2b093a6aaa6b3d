//! Any API that speaks OpenAI's HTTP, at OpenAI or elsewhere (<https://platform.openai.com/docs/api-reference>).
//!
//! ```text
//! builder ──► api ──► connection ──► decode ──► form ──► body (of a response that does not stream) · sse (of a stream)
//! ```

mod api;
mod binary;
mod body;
mod build_error;
mod builder;
mod decode;
mod form;
mod models;
mod settings;
mod stored;

pub use api::OpenAi;
pub use build_error::BuildError;
pub use builder::OpenAiBuilder;
pub(super) use settings::from_settings;
