//! An HTTP/2 server that is scripted frame by frame: for what no proper server would do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

/// What becomes of a request that came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// 200 without a body.
    Answered,
    /// A gRPC status alone.
    Status(&'static str),
    /// The stream is refused.
    Refused,
    /// The stream is reset.
    Reset,
    /// GOAWAY says that it was not processed, and the connection ends.
    Unprocessed,
    /// GOAWAY says that it may have been processed, and the connection ends.
    Processed,
    /// The connection ends without a word.
    Cut,
    /// Nothing.
    Ignored,
}

/// A running server; ends when dropped.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) addr: SocketAddr,
    came: Arc<Mutex<Vec<Vec<u8>>>>,
    task: AbortHandle,
}

impl Frames {
    /// Requests meet the fates in turn, the last one from then on.
    pub(super) async fn start(fates: &'static [Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let came = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let bodies = Arc::clone(&came);
        let accept = async move {
            let mut open = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                open.spawn(serve(tcp, fates, Arc::clone(&bodies)));
            }
        };
        let task = tokio::spawn(accept).abort_handle();
        Self { addr, came, task }
    }

    /// The bodies of all requests.
    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.came
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut tcp: TcpStream, fates: &[Fate], came: Arc<Mutex<Vec<Vec<u8>>>>) -> Option<()> {
    let mut preface = [0; PREFACE.len()];
    tcp.read_exact(&mut preface).await.ok()?;
    write(&mut tcp, SETTINGS, 0, 0, &[]).await?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        tcp.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        match kind {
            SETTINGS if flags & ACK == 0 => write(&mut tcp, SETTINGS, ACK, 0, &[]).await?,
            DATA => body.extend_from_slice(&payload),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let number = {
                let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
                came.push(std::mem::take(&mut body));
                came.len() - 1
            };
            meet(&mut tcp, fates[number.min(fates.len() - 1)], stream).await?;
        }
    }
}

/// `None` ends the connection.
async fn meet(tcp: &mut TcpStream, fate: Fate, stream: u32) -> Option<()> {
    let reset = |code: u32| code.to_be_bytes();
    match fate {
        Fate::Ignored => Some(()),
        Fate::Answered => write(tcp, HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]).await,
        Fate::Status(code) => {
            // `:status: 200`, and a literal name and value.
            let mut block = vec![0x88, 0, 11];
            block.extend_from_slice(b"grpc-status");
            block.push(code.len() as u8);
            block.extend_from_slice(code.as_bytes());
            write(tcp, HEADERS, END_HEADERS | END_STREAM, stream, &block).await
        }
        Fate::Refused => write(tcp, RST_STREAM, 0, stream, &reset(REFUSED_STREAM)).await,
        Fate::Reset => write(tcp, RST_STREAM, 0, stream, &reset(INTERNAL_ERROR)).await,
        Fate::Unprocessed => {
            write(tcp, GOAWAY, 0, 0, &[0; 8]).await?;
            None
        }
        Fate::Processed => {
            let [a, b, c, d] = stream.to_be_bytes();
            write(tcp, GOAWAY, 0, 0, &[a, b, c, d, 0, 0, 0, 0]).await?;
            None
        }
        Fate::Cut => None,
    }
}

async fn write(tcp: &mut TcpStream, kind: u8, flags: u8, stream: u32, data: &[u8]) -> Option<()> {
    let [_, a, b, c] = (data.len() as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, s0, s1, s2, s3];
    frame.extend_from_slice(data);
    tcp.write_all(&frame).await.ok()
}
