//! Providers: the trait that answers requests, two implementations of it, and the table of the types that a configuration
//! can name.
//!
//! The upstream of a client calls providers; the program looks their types up in [`TYPES`]. An embedder may implement
//! [`Provider`] itself. Deliberately absent: which provider serves which model, retries, and fallbacks.

mod binary;
mod call;
mod choices;
mod connection;
mod echo;
mod end_of_stream;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod openai;
mod passed_headers;
mod retry_after;
mod secret;
mod settings;
mod sse;
mod tls;
mod types;

pub use binary::{Binary, BinaryBody};
pub use call::{Accepted, Answer, Call, Event, Events, Provider};
pub(crate) use choices::Choices;
pub use echo::Echo;
pub(crate) use failure::excerpt;
pub use openai::{BuildError, OpenAi, OpenAiBuilder};
#[cfg(test)]
pub(crate) use passed_headers::RESERVED;
pub(crate) use passed_headers::is_reserved_to_provider;
pub use passed_headers::{ReturnedHeaders, is_reserved_header};
pub use secret::Secret;
pub use settings::ProviderSettings;
pub(crate) use tls::install_tls;
pub use types::{ProviderType, TYPES};
