//! The code of the guide (`docs/guide`), compiled and run. Each page's code is in the file beside it.

#[path = "../../../docs/guide/answers.rs"]
mod answers;
#[path = "../../../docs/guide/beside.rs"]
mod beside;
#[path = "../../../docs/guide/configuration.rs"]
mod configuration;
#[path = "../../../docs/guide/documents.rs"]
mod documents;
#[path = "../../../docs/guide/observing.rs"]
mod observing;
#[path = "../../../docs/guide/request.rs"]
mod request;
#[path = "../../../docs/guide/streams.rs"]
mod streams;
#[path = "../../../docs/guide/testing.rs"]
pub mod testing;
#[path = "../../../docs/guide/texts.rs"]
mod texts;
#[path = "../../../docs/guide/tool_calls.rs"]
mod tool_calls;
#[path = "../../../docs/guide/waiting.rs"]
mod waiting;
