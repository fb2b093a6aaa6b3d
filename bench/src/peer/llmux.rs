//! `llmux`, as `cargo build --release` makes it: without a plugin, with the four built-in plugins as libraries, or with a
//! number of instances of the example `noop`, a library whose hooks of a request, an answer and a chunk are empty.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    exchange::MODEL,
    launch::{Absent, Places, Program, build, write},
};

/// An instance of a library.
pub(super) struct Plugin {
    name: String,
    library: PathBuf,
    /// Configuration of the instance, as a table of TOML.
    config: &'static str,
}

/// The built-in plugins: name, library, and a configuration with which no request is refused.
const BUILT_INS: [(&str, &str, &str); 4] = [
    ("rate-limit", "llmux_plugin_rate_limit", "{ requests_per_second = 1000000.0, burst = 1000000 }"),
    ("cache", "llmux_plugin_cache", "{}"),
    ("metrics", "llmux_plugin_metrics", "{}"),
    ("logging", "llmux_plugin_logging", "{}"),
];

/// Returns the built-in plugins.
pub(super) fn built_ins(places: &Places) -> Vec<Plugin> {
    let plugin = |(name, library, config): (&str, _, _)| Plugin {
        name: name.to_owned(),
        library: library_in(&places.programs, library),
        config,
    };
    BUILT_INS.map(plugin).into()
}

/// Builds the library with empty hooks. Returns `count` instances of it.
///
/// # Errors
///
/// If the library cannot be built.
pub(super) fn empty(places: &Places, count: usize) -> Result<Vec<Plugin>, Absent> {
    let folder = build(places, &["-p", "llmux-abi", "--example", "noop"])?.join("examples");
    let library = library_in(&folder, "noop");
    let plugin = |at| Plugin { name: format!("empty-{at}"), library: library.clone(), config: "{}" };
    Ok((1..=count).map(plugin).collect())
}

fn library_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
}

/// Writes the configuration of `llmux`. Returns its program.
///
/// # Errors
///
/// If the program or a library is not built, or the configuration cannot be written.
pub(super) fn prepare(
    places: &Places,
    address: SocketAddr,
    name: &str,
    plugins: &[Plugin],
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
    for Plugin { name, library, config } in plugins {
        require(library)?;
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
