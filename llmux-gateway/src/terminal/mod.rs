//! Terminal: the log, printed tables and JSON, and the one line that a failed command prints.
//!
//! Everything else in the program uses it; it uses nothing of the program.

pub(crate) mod cli_error;
pub(crate) mod escape;
pub(crate) mod logging;
pub(crate) mod output;
