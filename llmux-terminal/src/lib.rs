//! Terminal output of LLMux's commands: text, tables and JSON on standard output, and the error of a command.
//!
//! The program `llmux` and `llmux-devtools` print through this crate, so that both escape text of strangers, use colors
//! and word errors alike. It uses nothing of the project. Deliberately absent: the log, which is `llmux-gateway`'s, and
//! the commands themselves.

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod argument;
mod error;
mod escape;
mod output;
mod progress;

pub use argument::json_object;
pub use error::{CliError, Result};
pub use escape::{Visible, visible};
pub use output::{
    Tone, colors, duration, paint, print, print_error, print_json, print_table, short, utc_time,
};
pub use progress::Progress;
