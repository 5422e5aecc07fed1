//! One real proxy among the simulated ones: what it keeps in memory of a large mesh of which it uses little.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::mesh;
use crate::usage::{self, Memory};

/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks whether it serves.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running `meshproxy`; killed when dropped.
pub(crate) struct Proxy(Child);

/// A free port, taken by nobody until the proxy opens it: it is told of it by the control plane.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The program: the given one, else the one that was built beside this.
///
/// # Errors
/// When it is not there.
pub(crate) fn program(given: Option<&Path>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("meshproxy"),
    };
    let is_there = path.is_file();
    ensure!(
        is_there,
        "{} is not there: `cargo build --release -p proxy`, or --meshproxy with its path",
        path.display()
    );
    Ok(path)
}

// === impl Proxy ===

impl Proxy {
    /// Starts one that follows a control plane and has it use hosts: each is asked for by a request.
    pub(crate) async fn using(
        program: &Path,
        control: SocketAddr,
        port: u16,
        hosts: &[String],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--control", &format!("http://{control}")]);
        command.args(["--namespace", mesh::MEASURED, "--bind", "127.0.0.1"]);
        for server in ["--admin-addr", "--metrics-addr", "--health-addr"] {
            command.args([server, "127.0.0.1:0"]);
        }
        let quiet = command.stdin(Stdio::null()).stderr(Stdio::null());
        let proxy = Self(quiet.spawn().context("start meshproxy")?);
        let ends = Instant::now() + WAIT_MAX;
        let mut client = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(client) => break client,
                Err(error) if Instant::now() > ends => {
                    return Err(error).context("wait until meshproxy serves");
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        client.set_read_timeout(Some(WAIT_MAX))?;
        for host in hosts {
            let status = status(&mut client, host).with_context(|| format!("ask for {host}"))?;
            // Its endpoints are there on paper only.
            ensure!(status == 503, "{host}: {status}, not 503");
        }
        Ok(proxy)
    }

    /// What it keeps, and how much of the mesh it was told.
    pub(crate) fn memory(&self) -> Result<Memory> {
        usage::memory(&[self.0.id()])
    }

    /// Threads that it has.
    pub(crate) fn threads(&self) -> Result<usize> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id()));
        Ok(tasks.context("list its threads")?.count())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status of the answer to a request; its body is read, too.
fn status(client: &mut TcpStream, host: &str) -> Result<u16> {
    write!(client, "GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).context("a head")?.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |it| it.trim().parse())?;
    client.read_exact(&mut vec![0; length])?;
    let status = head.split(' ').nth(1).context("a status")?;
    status.parse().context("a status")
}
