//! A type that does not implement `Plugin`.
use llmux_abi::prelude::*;

struct NotAPlugin;

export_plugin!(NotAPlugin, name: "not-a-plugin");

fn main() {}
