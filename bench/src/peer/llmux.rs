//! `llmux`, as `cargo build --release` makes it: without a plugin, or with the four built-in plugins as libraries.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    net::SocketAddr,
    path::Path,
    process::Command,
};

use crate::{
    exchange::MODEL,
    launch::{Absent, Places, Program, write},
};

/// The built-in plugins: name, library, and a configuration with which no request is refused.
const PLUGINS: [(&str, &str, &str); 4] = [
    ("rate-limit", "llmux_plugin_rate_limit", "{ requests_per_second = 1000000.0, burst = 1000000 }"),
    ("cache", "llmux_plugin_cache", "{}"),
    ("metrics", "llmux_plugin_metrics", "{}"),
    ("logging", "llmux_plugin_logging", "{}"),
];

/// Writes the configuration of `llmux`. Returns its program.
///
/// # Errors
///
/// If the program or a library is not built, or the configuration cannot be written.
pub(super) fn prepare(
    places: &Places,
    address: SocketAddr,
    name: &str,
    has_plugins: bool,
) -> Result<Program, Absent> {
    let program = places.programs.join("llmux");
    require(&program)?;
    let upstream = places.upstream;
    let mut configuration = format!(
        r#"[server]
listen = "{address}"
admin = "off"

[[provider]]
name = "mock"
type = "openai"
base_url = "http://{upstream}/v1"
models = ["{MODEL}"]
"#
    );
    for (name, library, config) in PLUGINS.iter().filter(|_| has_plugins) {
        let library = places.programs.join(format!("{DLL_PREFIX}{library}{DLL_SUFFIX}"));
        require(&library)?;
        // Every JSON string is a string of TOML.
        let path = serde_json::Value::from(library.to_string_lossy());
        configuration += &format!("\n[[plugin]]\nname = \"{name}\"\npath = {path}\nconfig = {config}\n");
    }
    let file = write(places, &format!("{name}.toml"), &configuration)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(file);
    Ok(Program { command, version: env!("CARGO_PKG_VERSION").to_owned() })
}

fn require(file: &Path) -> Result<(), Absent> {
    match file.is_file() {
        true => Ok(()),
        false => Err(Absent::Failed(format!(
            "{} does not exist; run `cargo build --release` first",
            file.display()
        ))),
    }
}
