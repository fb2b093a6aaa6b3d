//! Terminal: the log on standard error.
//!
//! Every other folder may use it; it uses nothing of the program. Deliberately absent: tables, JSON and the errors of
//! commands, which are `llmux-terminal`'s, because `llmux-devtools` prints them too.

mod clock;
mod line;
pub(crate) mod logging;
pub(crate) mod outside;
mod plugin_line;
pub(crate) mod urgent;
