//! The program as a process: what it answers over HTTP, prints in a terminal, and does when it is told to stop.
//!
//! Each file is about one side of it; `support` starts servers on free ports.

mod admin;
mod api;
mod at_once;
mod authors;
mod autoload;
mod configuration;
mod docs;
mod doors;
mod file_tricks;
mod folders;
mod foreign;
mod hostile;
mod kills;
mod local_tokens;
mod owners;
mod plugin_commands;
mod reloads;
mod second_tries;
mod secrets;
mod shutdown;
mod storms;
mod streams;
mod support;
mod swaps;
mod tokens;
mod trust;
mod web_pages;
mod wire;
