//! Admin listener: its routes, its tokens, and the reload of the configuration.
//!
//! `commands::serve` starts it; the command line reaches it over HTTP. Deliberately absent: how plugins are loaded and
//! changed, which is `llmux-core`'s.

pub(crate) mod error;
pub(crate) mod local_token;
pub(crate) mod plugins;
mod providers;
pub(crate) mod reload;
pub(crate) mod router;
pub(crate) mod state;
pub(crate) mod tokens;
