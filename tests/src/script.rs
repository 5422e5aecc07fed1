//! Origins that are scripted byte by byte: for what no proper server would do.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A running script; ends when dropped.
#[derive(Debug)]
pub struct Script {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

/// One connection to a script.
#[derive(Debug)]
pub struct Peer {
    /// Counts connections from 0.
    pub number: usize,
    tcp: TcpStream,
    buffer: Vec<u8>,
    heads: Arc<Mutex<Vec<String>>>,
}

// === impl Script ===

impl Script {
    /// Plays `part` on every connection.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start<F>(part: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        let accept = async move {
            let mut open = JoinSet::new();
            for number in 0.. {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                let heads = Arc::clone(&noted);
                open.spawn(part(Peer {
                    number,
                    tcp,
                    buffer: Vec::new(),
                    heads,
                }));
            }
        };
        let task = tokio::spawn(accept).abort_handle();
        Self { addr, heads, task }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The heads of all requests that came whole.
    pub fn heads(&self) -> Vec<String> {
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Peer ===

impl Peer {
    /// The head of the next request, with its body left unread; `None` at the end of the connection.
    pub async fn head(&mut self) -> Option<String> {
        let head_len = self.head_len().await?;
        let head = String::from_utf8_lossy(&self.buffer[..head_len]).into_owned();
        self.buffer.drain(..head_len);
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head.clone());
        Some(head)
    }

    /// The next request: its head, with the body of the announced length read; `None` at the end of
    /// the connection.
    pub async fn request(&mut self) -> Option<String> {
        let head_len = self.head_len().await?;
        let head = String::from_utf8_lossy(&self.buffer[..head_len]).into_owned();
        let whole = head_len + content_length(&head);
        while self.buffer.len() < whole {
            self.read().await?;
        }
        self.buffer.drain(..whole);
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head.clone());
        Some(head)
    }

    /// The next head, and nothing of what follows it; empty at the end of the connection.
    pub async fn hear_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.hear(1).await.as_str() {
                "" => return String::new(),
                more => head += more,
            }
        }
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head.clone());
        head
    }

    /// Exactly `count` further bytes; fewer at the end of the connection.
    pub async fn hear(&mut self, count: usize) -> String {
        while self.buffer.len() < count {
            if self.read().await.is_none() {
                break;
            }
        }
        let count = count.min(self.buffer.len());
        let heard: Vec<u8> = self.buffer.drain(..count).collect();
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Sends `text` as it is; a failure shows at the other side.
    pub async fn say(&mut self, text: &str) {
        let _ = self.tcp.write_all(text.as_bytes()).await;
    }

    /// A complete answer with a body.
    pub async fn answer(&mut self, body: &str) {
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// Ends the sending side; what comes can still be read.
    pub async fn finish(&mut self) {
        let _ = self.tcp.shutdown().await;
    }

    /// Waits for more bytes and gives all that came and were not taken by a request; `None` at the
    /// end of the connection.
    pub async fn more(&mut self) -> Option<&[u8]> {
        self.read().await?;
        Some(&self.buffer)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        // A close with a zero linger time is a reset; if it fails the close is a plain one.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }

    /// What has come and was not read yet, at least `bytes` unless the connection ends.
    pub async fn bytes(&mut self, bytes: usize) -> Vec<u8> {
        while self.buffer.len() < bytes {
            if self.read().await.is_none() {
                break;
            }
        }
        std::mem::take(&mut self.buffer)
    }

    /// Reads until a head is whole, and says how long it is.
    async fn head_len(&mut self) -> Option<usize> {
        loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return Some(end + 4);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Option<()> {
        match self.tcp.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

fn content_length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok());
    length.unwrap_or(0)
}
