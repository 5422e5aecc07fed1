//! The proxies: how each is configured, started, and known to be ready.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::identity::{Identities, Side};
use crate::preflight::{Tool, Tools};
use crate::process::{Process, accepts, free_ports};
use crate::work::{Spoken, Work};
use crate::written::{self, Wanted};

/// A program to measure. The order is the order in the rounds and in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Proxy {
    /// No proxy: the load goes to the upstream.
    #[value(skip)]
    Direct,
    /// ours
    Meshproxy,
    /// HAProxy
    Haproxy,
    /// nginx
    Nginx,
    /// Envoy
    Envoy,
    /// nghttpx, the proxy of nghttp2; in the kinds of work over HTTP/2 and in idle
    Nghttpx,
}

/// Where a proxy runs and what it is in front of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Core of the proxy.
    pub(crate) core: usize,
    /// Ports of the upstreams.
    pub(crate) upstreams: Ports,
    /// Who the proxies of a mesh are.
    pub(crate) identities: &'a Identities,
    /// The installed programs.
    pub(crate) tools: &'a Tools,
    /// A folder of its own, for its configuration and its log.
    pub(crate) folder: &'a Path,
}

/// A proxy that serves, or two, one behind the other.
#[derive(Debug)]
pub(crate) struct Started {
    /// None if the load goes to the upstream.
    pub(crate) processes: Vec<Process>,
    /// Where the load goes.
    pub(crate) port: u16,
}

/// Where the upstreams listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// nginx, by HTTP/1.1.
    pub(crate) http1: u16,
    /// The same nginx, by HTTP/2.
    pub(crate) http2: u16,
    /// Our gRPC service; none if no work needs it.
    pub(crate) grpc: Option<u16>,
    /// Our service of connections that are not HTTP; none if no work needs it.
    pub(crate) tcp: Option<u16>,
}

// === impl Ports ===

impl Ports {
    /// The port of the upstream that `work` needs.
    ///
    /// # Errors
    /// When it was not started.
    fn of(self, work: Work) -> Result<u16> {
        match work.upstream() {
            Spoken::Http1 => Ok(self.http1),
            Spoken::Http2 => Ok(self.http2),
            Spoken::Grpc => self.grpc.context("the gRPC service was not started"),
            Spoken::Opaque => self.tcp.context("the TCP service was not started"),
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Name in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Proxy::Direct => "(no proxy)",
            Proxy::Meshproxy => "meshproxy",
            Proxy::Haproxy => "haproxy",
            Proxy::Nginx => "nginx",
            Proxy::Envoy => "envoy",
            Proxy::Nghttpx => "nghttpx",
        }
    }

    /// Why it takes no part in `work`; none if it does.
    pub(crate) fn missing_from(self, work: Work) -> Option<&'static str> {
        match (self, work) {
            (Proxy::Nginx, Work::Http2ToHttp2) => Some("speaks HTTP/2 to upstreams for gRPC only"),
            (Proxy::Nginx | Proxy::Nghttpx, Work::Hop | Work::Handshake) => {
                Some("is no proxy of a mesh")
            }
            (Proxy::Nginx | Proxy::Nghttpx, Work::Tcp | Work::TcpIdle) => Some("is here for HTTP"),
            (Proxy::Nghttpx, Work::Http1Rules) => Some("has no rules by header"),
            (Proxy::Haproxy | Proxy::Nginx | Proxy::Envoy | Proxy::Nghttpx, Work::Http1Guarded) => {
                Some("is compared with meshproxy's own http1")
            }
            (Proxy::Nghttpx, Work::Http1 | Work::Connection | Work::Latency) => {
                Some("is here for HTTP/2")
            }
            (
                Proxy::Direct
                | Proxy::Meshproxy
                | Proxy::Haproxy
                | Proxy::Nginx
                | Proxy::Envoy
                | Proxy::Nghttpx,
                _,
            ) => None,
        }
    }

    /// The program that it is; none without a proxy.
    pub(crate) fn tool(self) -> Option<Tool> {
        match self {
            Proxy::Direct => None,
            Proxy::Meshproxy => Some(Tool::Meshproxy),
            Proxy::Haproxy => Some(Tool::Haproxy),
            Proxy::Nginx => Some(Tool::Nginx),
            Proxy::Envoy => Some(Tool::Envoy),
            Proxy::Nghttpx => Some(Tool::Nghttpx),
        }
    }

    /// Starts it for `work` and waits until it serves: at both ends of a hop, the far one first.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(self, work: Work, place: Place<'_>) -> Result<Started> {
        let upstream_port = place.upstreams.of(work)?;
        let sides: &[Side] = match work {
            _ if self == Proxy::Direct => &[],
            Work::Hop => &[Side::Server, Side::Client],
            Work::Handshake => &[Side::Server],
            Work::Http1
            | Work::Http1Rules
            | Work::Http1Guarded
            | Work::Connection
            | Work::Http2ToHttp1
            | Work::Http2ToHttp2
            | Work::Grpc
            | Work::Tcp
            | Work::TcpIdle
            | Work::Latency
            | Work::Idle => &[Side::Plain],
        };
        let mut started = Started {
            processes: Vec::new(),
            port: upstream_port,
        };
        for &side in sides {
            let (process, port) = self.start_one(work, side, started.port, place).await?;
            started.processes.push(process);
            started.port = port;
        }
        Ok(started)
    }

    /// Starts one process that passes requests on to `upstream_port`.
    async fn start_one(
        self,
        work: Work,
        side: Side,
        upstream_port: u16,
        place: Place<'_>,
    ) -> Result<(Process, u16)> {
        let tool = self.tool().context("no program")?;
        let ports = free_ports()?;
        let [listen_port, _, _, health_port] = ports;
        let wanted = Wanted {
            work,
            side,
            identities: place.identities,
            listen_port,
            upstream_port,
        };
        let args = self.write(wanted, ports, place.folder)?;
        let log = place.folder.join(format!("{side:?}.log"));
        let mut process = Process::start(place.core, place.tools.path(tool)?, &args, log)?;
        let ours = self == Proxy::Meshproxy;
        process
            .wait_until(|| (!ours || reports_ready(health_port)) && accepts(listen_port))
            .await
            .with_context(|| format!("start {}", self.name()))?;
        Ok((process, listen_port))
    }

    /// Writes the configuration and answers with the arguments. The ports are the listener's and,
    /// for meshproxy, those of admin, metrics and health.
    fn write(self, wanted: Wanted<'_>, ports: [u16; 4], folder: &Path) -> Result<Vec<String>> {
        let [_, admin, metrics, health] = ports.map(|port| format!("127.0.0.1:{port}"));
        let (name, text) = match self {
            Proxy::Direct => ("none", String::new()),
            Proxy::Meshproxy => ("mesh.yaml", written::meshproxy(wanted)),
            Proxy::Haproxy => ("haproxy.cfg", written::haproxy(wanted)),
            Proxy::Nginx => ("nginx.conf", written::nginx(wanted)),
            Proxy::Envoy => ("envoy.json", written::envoy(wanted)),
            Proxy::Nghttpx => ("nghttpx.conf", written::nghttpx(wanted)),
        };
        let file = folder.join(format!("{:?}-{name}", wanted.side));
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let (file, folder) = (file.display().to_string(), folder.display().to_string());
        let conf = format!("--conf={file}");
        let identity = wanted.identities.folder(wanted.side).display().to_string();
        let args: Vec<&str> = match self {
            Proxy::Direct => Vec::new(),
            Proxy::Meshproxy => {
                let mut args = vec![
                    "--config",
                    &file,
                    "--workers",
                    "1",
                    "--admin-addr",
                    &admin,
                    "--metrics-addr",
                    &metrics,
                    "--health-addr",
                    &health,
                ];
                if wanted.side != Side::Plain {
                    args.extend(["--identity-dir", &identity]);
                }
                args
            }
            Proxy::Haproxy => vec!["-db", "-f", &file],
            Proxy::Nginx => nginx_args(&folder, &file),
            Proxy::Envoy => vec![
                "--config-path",
                &file,
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ],
            Proxy::Nghttpx => vec![&conf],
        };
        Ok(args.into_iter().map(str::to_owned).collect())
    }
}

/// Starts the nginx that is the upstream of all work but gRPC, on `place.core`.
///
/// # Errors
/// When it does not start.
pub(crate) async fn start_upstream(place: Place<'_>) -> Result<Process> {
    let file = place.folder.join("nginx.conf");
    let Ports { http1, http2, .. } = place.upstreams;
    let text = written::upstream(http1, http2);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let (file, folder) = (
        file.display().to_string(),
        place.folder.display().to_string(),
    );
    let args: Vec<String> = nginx_args(&folder, &file)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let log = place.folder.join("log");
    let mut process = Process::start(place.core, place.tools.path(Tool::Nginx)?, &args, log)?;
    process
        .wait_until(|| accepts(http1) && accepts(http2))
        .await
        .context("start the upstream")?;
    Ok(process)
}

fn nginx_args<'a>(folder: &'a str, file: &'a str) -> Vec<&'a str> {
    vec!["-p", folder, "-e", "stderr", "-c", file]
}

/// Whether meshproxy answers 200 on its health port.
fn reports_ready(port: u16) -> bool {
    let answer = || -> std::io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(
            b"GET /healthz/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    answer().is_ok_and(|status| &status == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meshproxy_takes_part_in_all_work_and_envoy_in_all_that_compares() {
        for work in Work::value_variants() {
            assert_eq!(Proxy::Meshproxy.missing_from(*work), None);
            let compares = *work != Work::Http1Guarded;
            assert_eq!(Proxy::Envoy.missing_from(*work).is_none(), compares);
        }
    }
}
