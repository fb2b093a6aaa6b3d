//! The program as a process: what it answers over HTTP, prints in a terminal, and does when it is told to stop.
//!
//! Each file is about one side of it; `support` starts servers on free ports.

mod admin;
mod api;
mod configuration;
mod plugin_commands;
mod shutdown;
mod streams;
mod support;
