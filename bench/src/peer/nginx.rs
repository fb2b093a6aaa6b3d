//! nginx as a plain proxy, the cheapest gateway that people use.

use std::{net::SocketAddr, process::Command};

use crate::launch::{Absent, Places, Program, on_path, processors, version, write};

/// Writes nginx's configuration. Returns its program.
///
/// # Errors
///
/// If nginx is not installed, or the configuration cannot be written.
pub(super) fn prepare(places: &Places, address: SocketAddr) -> Result<Program, Absent> {
    let Some(program) = on_path("nginx") else {
        return Err(Absent::NotInstalled(
            "there is no `nginx` on PATH (Debian: apt-get install nginx-light)".to_owned(),
        ));
    };
    let (processors, upstream) = (processors(), places.upstream);
    let configuration = format!(
        r#"worker_processes {processors};
daemon off;
error_log stderr warn;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path nginx-body; proxy_temp_path nginx-proxy;
  fastcgi_temp_path nginx-fastcgi; uwsgi_temp_path nginx-uwsgi; scgi_temp_path nginx-scgi;
  client_max_body_size 64m;
  client_body_buffer_size 1m; # a body of 256 KB stays in memory
  keepalive_requests 10000000;
  keepalive_timeout 300s;
  tcp_nodelay on;
  upstream provider {{ server {upstream}; keepalive 128; keepalive_requests 10000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off; # an event goes on at once
    }}
  }}
}}
"#
    );
    let file = write(places, "nginx.conf", &configuration)?;
    let mut command = Command::new(&program);
    command.arg("-p").arg(&places.folder).arg("-c").arg(file);
    Ok(Program { command, version: version(&program, "-v") })
}
