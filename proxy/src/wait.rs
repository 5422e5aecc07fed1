//! `meshproxy wait`: until a proxy is ready. For what must not start before it, such as a hook after the
//! start of its container.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use http::Uri;

use crate::bootstrap::WaitArgs;

/// Time between two questions.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Limit of the wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read: its first line is shorter.
const ANSWER_BYTES_MAX: u64 = 64;

/// Waits; success if the proxy is ready in time.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, which asks until the answer is right or the time is over"
)]
pub fn run(arguments: &WaitArgs) -> ExitCode {
    let start = Instant::now();
    loop {
        let reason = match ask(&arguments.url) {
            Ok(200) => return ExitCode::SUCCESS,
            Ok(status) => format!("the answer is {status}"),
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= arguments.timeout {
            let WaitArgs { url, timeout } = arguments;
            eprintln!("meshproxy: {url} is not ready after {timeout:?}: {reason}");
            return ExitCode::FAILURE;
        }
        thread::sleep(ASK_INTERVAL);
    }
}

/// The status of the answer.
fn ask(url: &Uri) -> io::Result<u16> {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(80);
    let addresses = (bare, port).to_socket_addrs()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for addr in addresses {
        match ask_at(addr, url) {
            Ok(status) => return Ok(status),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_at(addr: SocketAddr, url: &Uri) -> io::Result<u16> {
    let mut tcp = TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT)?;
    tcp.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let path = url.path_and_query().map_or("/", |it| it.as_str());
    let authority = url.authority().map_or("", |it| it.as_str());
    write!(
        tcp,
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    tcp.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))
}

/// The status in the first line of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    let digits = line.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status(b"HTTP/1.0 200 OK"), Some(200));
        for other in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 2",
            "SSH-2.0-OpenSSH",
            "HTTP/1.1 abc",
        ] {
            assert_eq!(status(other.as_bytes()), None, "{other}");
        }
    }
}
