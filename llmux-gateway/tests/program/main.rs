//! The program as a process: its answers over HTTP, its output in a terminal, and its behavior when it is stopped.
//!
//! Each file tests one part of the program. `support` starts servers on free ports.

mod addresses;
mod admin;
mod api;
mod at_once;
mod authors;
mod autoload;
mod bodies;
mod configuration;
mod docs;
mod doors;
#[cfg(target_os = "linux")]
mod empty_root;
mod fail_closed;
mod file_tricks;
mod folders;
mod foreign;
mod guards;
mod hostile;
mod isolation;
mod kills;
mod local_tokens;
mod new_plugin;
mod origins;
mod output;
mod owners;
mod passed_headers;
mod plugin_commands;
mod providers;
mod reloads;
mod second_tries;
mod secrets;
mod shutdown;
mod splits;
mod stored_responses;
mod storms;
mod streams;
mod support;
mod swaps;
mod tls;
mod tls_server;
mod tokens;
mod trust;
mod verdicts;
mod web_pages;
mod wire;
