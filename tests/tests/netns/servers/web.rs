//! Web servers: nginx, a WebSocket echo, gRPC's interop server.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::netns::Host;
use tests::netns::host::Running;
use tests::tls::Certificate;

use super::{debian, peer};

/// Answers at ports 80 in HTTP/1.1, 81 in HTTP/2 without TLS and 443 behind TLS.
pub(crate) struct Web {
    _server: Running,
    certificate: Certificate,
    _folder: TempDir,
}

/// Sends every message of a WebSocket back, at port 8765.
pub(crate) struct Chat {
    _server: Running,
}

/// The server of gRPC's interop suite, at port 10000.
pub(crate) struct Grpc {
    _server: Running,
}

// === impl Web ===

impl Web {
    /// Starts it; its certificate is for `name`.
    pub(crate) async fn start(host: &Host, name: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let certificate = Certificate::of(&[name]);
        let at = folder.path().display();
        let config = folder.path().join("nginx.conf");
        let listen = |port: u16, how: &str| {
            format!("listen {port} {how}; listen [::]:{port} {how} ipv6only=on;")
        };
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};
  uwsgi_temp_path {at}; scgi_temp_path {at};
  client_max_body_size 64m;
  server {{
    {} {} {}
    ssl_certificate {}; ssl_certificate_key {};
    location / {{
      return 200 \"$server_protocol $server_addr $server_port $remote_addr\\n\";
    }}
  }}
}}
",
            listen(80, ""),
            listen(81, "http2"),
            listen(443, "ssl"),
            certificate.file().display(),
            certificate.key_file().display()
        );
        std::fs::write(&config, text).expect("a temporary file can be written");
        let mut server = host.command(0, debian("nginx", "nginx"));
        server
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(folder.path().join("error.log"));
        let server = host.start(server);
        host.is_served(host.addr(), 80).await;
        Self {
            _server: server,
            certificate,
            _folder: folder,
        }
    }

    /// Whom a client must believe.
    pub(crate) fn authority(&self) -> PathBuf {
        self.certificate.file()
    }
}

// === impl Chat ===

impl Chat {
    /// Starts it.
    pub(crate) async fn start(host: &Host) -> Self {
        let mut server = host.command(0, peer("venv/bin/python"));
        server
            .arg(program("echo.py"))
            .args([&host.addr().to_string(), "8765"]);
        let server = host.start(server);
        host.is_served(host.addr(), 8_765).await;
        Self { _server: server }
    }

    /// What plays a client: it ends well if everything it said came back.
    pub(crate) fn client(host: &Host, url: &str) -> tokio::process::Command {
        let mut client = host.command(0, peer("venv/bin/python"));
        client.arg(program("chat.py")).arg(url);
        client
    }
}

// === impl Grpc ===

impl Grpc {
    /// Starts it.
    pub(crate) async fn start(host: &Host) -> Self {
        let mut server = host.command(0, peer("bin/grpc-interop-server"));
        server.arg("--port=10000");
        let server = host.start(server);
        host.is_served(host.addr(), 10_000).await;
        Self { _server: server }
    }

    /// The client of the suite with one of its cases.
    pub(crate) fn client(host: &Host, name: &str, case: &str) -> tokio::process::Command {
        let mut client = host.command(0, peer("bin/grpc-interop-client"));
        client.arg(format!("--server_host={name}"));
        client.args(["--server_port=10000", &format!("--test_case={case}")]);
        client
    }
}

/// A program of our own, in a language of the peers.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}
