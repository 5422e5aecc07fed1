//! A client that sends bytes as they are and reads until the connection ends.

use std::net::SocketAddr;
use std::time::Duration;

use tests::soon;
use tests::wait::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Silence after which the client ends its side. A proxy that still waits for more of a request knows
/// then that there is none; nothing is concluded from the silence itself.
const SILENCE: Duration = Duration::from_secs(3);

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    answer: Vec<u8>,
    /// Whether the other side ended the connection in time.
    pub(super) ended: bool,
}

/// Sends `bytes` on a connection of its own.
///
/// # Panics
///
/// If nobody takes the connection.
pub(super) async fn send(addr: SocketAddr, bytes: &[u8]) -> Exchange {
    let mut tcp = TcpStream::connect(addr).await.expect("the proxy listens");
    let mut exchange = Exchange::default();
    // The proxy may have answered and closed before it read everything.
    let _ = tcp.write_all(bytes).await;
    if timeout(SILENCE, exchange.read(&mut tcp)).await.is_err() {
        // Whether it was closed meanwhile shows when reading.
        let _ = tcp.shutdown().await;
        let _ = timeout(PATIENCE, exchange.read(&mut tcp)).await;
    }
    exchange
}

/// Sends a request that is right and ends the connection, which is for the proxy to close.
///
/// # Panics
///
/// If it does not, or nobody takes the connection.
pub(super) async fn ask(addr: SocketAddr, request: &str) -> Exchange {
    let mut tcp = TcpStream::connect(addr).await.expect("the proxy listens");
    let mut exchange = Exchange::default();
    let sent = tcp.write_all(request.as_bytes()).await;
    sent.expect("a new connection takes a request");
    soon("an answer and the end", exchange.read(&mut tcp)).await;
    exchange
}

// === impl Exchange ===

impl Exchange {
    /// Reads up to the end; what was read stays if it is dropped before.
    async fn read(&mut self, tcp: &mut TcpStream) {
        // A reset is an end too.
        while tcp.read_buf(&mut self.answer).await.is_ok_and(|n| n > 0) {}
        self.ended = true;
    }

    /// All bytes, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }

    /// The status of the first final answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.statuses().first().copied()
    }

    /// Statuses of all final answers. Bodies of answers hold no text that looks like a head.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let heads = text.split("HTTP/1.").skip(1);
        let statuses = heads.filter_map(|head| head.get(2..5)?.parse().ok());
        statuses.filter(|status| *status >= 200).collect()
    }
}
