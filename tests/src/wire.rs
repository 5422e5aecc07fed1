//! A client that writes and reads bytes: for what no proper client would send, and for seeing exactly
//! what comes back.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::soon;

/// One connection.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    read: Vec<u8>,
}

// === impl Wire ===

impl Wire {
    /// Connects to `addr`.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
        tcp.set_nodelay(true).expect("a TCP option");
        Self {
            tcp,
            read: Vec::new(),
        }
    }

    /// Sends `bytes`; a failure shows when the answer is read.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("room for bytes", self.tcp.write_all(bytes.as_ref())).await;
    }

    /// Ends this side of the connection; the other can still be read.
    pub async fn end(&mut self) {
        let _ = self.tcp.shutdown().await;
    }

    /// What comes up to and with `end`.
    ///
    /// # Panics
    ///
    /// If the connection ends before.
    pub async fn until(&mut self, end: &str) -> String {
        let at = |read: &[u8]| {
            let found = read.windows(end.len()).position(|it| it == end.as_bytes());
            found.map(|at| at + end.len())
        };
        while at(&self.read).is_none() {
            let more = soon(end, self.tcp.read_buf(&mut self.read)).await;
            let heard = String::from_utf8_lossy(&self.read);
            assert!(
                more.as_ref().is_ok_and(|count| *count > 0),
                "{more:?} before {end:?}, after {heard:?}"
            );
        }
        let len = at(&self.read).expect("found above");
        let head: Vec<u8> = self.read.drain(..len).collect();
        String::from_utf8_lossy(&head).into_owned()
    }

    /// The next head.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// What comes up to the end of the connection, and whether that is an orderly one.
    pub async fn rest(&mut self) -> (String, bool) {
        let ended = soon("the end", self.tcp.read_to_end(&mut self.read)).await;
        let read = std::mem::take(&mut self.read);
        (String::from_utf8_lossy(&read).into_owned(), ended.is_ok())
    }
}
