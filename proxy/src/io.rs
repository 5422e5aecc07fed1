//! The byte streams under HTTP: one closed enum instead of a boxed trait object, so that a read or
//! write costs a branch and the readiness of a socket stays visible to the connection pool.

mod rested;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected byte stream.
#[derive(Debug)]
pub enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain socket.
    Unix(UnixStream),
    /// TLS over one of the others.
    Tls(Box<TlsStream<Io>>),
    /// In memory, for tests and benchmarks.
    Memory(DuplexStream),
}

/// A socket, as the system has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Socket<'i> {
    /// TCP.
    Tcp(&'i TcpStream),
    /// Unix domain socket.
    Unix(&'i UnixStream),
}

/// A stream whose first bytes were already read, such as those that told the protocol.
#[derive(Debug)]
pub struct Prefixed {
    prefix: Bytes,
    io: Io,
}

// === impl Io ===

impl Io {
    /// Whether a connection that should be silent has something to read: data nobody asked for, or
    /// the peer's close. Costs no system call while the reactor has seen no event.
    pub(crate) fn has_unexpected_input(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let (ready, read) = match self {
            Self::Tcp(tcp) => (
                tcp.poll_read_ready(&mut cx),
                Self::has_tcp_input as fn(&Self) -> bool,
            ),
            Self::Unix(unix) => (
                unix.poll_read_ready(&mut cx),
                Self::has_unix_input as fn(&Self) -> bool,
            ),
            Self::Tls(tls) => return rested::has_more(tls),
            Self::Memory(_) => return false,
        };
        match ready {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(())) => read(self),
        }
    }

    /// Waits until there is something to read, or the end. TLS may hold bytes that its socket no
    /// longer has, so that it is tried at once, as is a stream in memory.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Tls(_) | Self::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    /// The addresses of this side and of the peer; none where there are no such.
    pub(crate) fn ends(&self) -> [Option<IpAddr>; 2] {
        match self {
            Self::Tcp(tcp) => [tcp.local_addr(), tcp.peer_addr()].map(|end| Some(end.ok()?.ip())),
            Self::Tls(tls) => tls.get_ref().0.ends(),
            Self::Unix(_) | Self::Memory(_) => [None, None],
        }
    }

    /// The socket whose bytes are those of the stream; none if something of ours is in between.
    pub(crate) fn socket(&self) -> Option<Socket<'_>> {
        match self {
            Self::Tcp(tcp) => Some(Socket::Tcp(tcp)),
            Self::Unix(unix) => Some(Socket::Unix(unix)),
            Self::Tls(_) | Self::Memory(_) => None,
        }
    }

    /// The socket at the bottom, whatever is above it; none in memory.
    pub(crate) fn beneath(&self) -> Option<Socket<'_>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => self.socket(),
            Self::Tls(tls) => tls.get_ref().0.beneath(),
            Self::Memory(_) => None,
        }
    }

    /// Own address of the socket at the bottom; none if it is not of TCP.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self.beneath()? {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Has the system keep at most so many bytes that were written and not sent yet, in place of the usual.
    /// Of what TLS writes the usual stays.
    pub(crate) fn keep_unsent(&self, bytes_max: u32) {
        if let Self::Tcp(tcp) = self {
            // Only on a socket that is broken it fails.
            let _ = SockRef::from(tcp).set_tcp_notsent_lowat(bytes_max);
        }
    }

    /// Makes the close a reset, which a peer cannot take for an orderly end (RFC 9112 §8).
    pub(crate) fn reset_on_close(&self) {
        match self {
            Self::Tcp(tcp) => {
                // If it fails the close is a plain one, and the peer takes a part for the whole.
                let _ = SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
            }
            Self::Tls(tls) => tls.get_ref().0.reset_on_close(),
            Self::Unix(_) | Self::Memory(_) => {}
        }
    }

    /// Whether the end of the stream has to be said: over TLS a close alone looks like an attack
    /// (RFC 8446 §6.1), elsewhere it says the same with one system call less.
    pub(crate) fn says_end(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Memory(_) => true,
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether a write that failed shows how much was sent before. TLS takes bytes in and sends them
    /// in records of its own: some may have gone out, whatever it says of the write.
    pub(crate) fn tells_what_was_sent(&self) -> bool {
        match self {
            Self::Tls(_) => false,
            Self::Tcp(_) | Self::Unix(_) | Self::Memory(_) => true,
        }
    }

    /// The same as [`Self::has_unexpected_input`], as the system has it at this moment: the reactor
    /// may not have had its turn since the peer closed.
    pub(crate) fn has_unexpected_input_now(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let peeked = match self {
            Self::Tcp(tcp) => SockRef::from(&*tcp).peek(&mut byte),
            Self::Unix(unix) => SockRef::from(&*unix).peek(&mut byte),
            Self::Tls(tls) => return rested::has_more_now(tls),
            Self::Memory(_) => return false,
        };
        !would_block(&peeked)
    }

    fn has_tcp_input(&self) -> bool {
        let Self::Tcp(tcp) = self else { return false };
        !would_block(&tcp.try_read(&mut [0; 1]))
    }

    fn has_unix_input(&self) -> bool {
        let Self::Unix(unix) = self else { return false };
        !would_block(&unix.try_read(&mut [0; 1]))
    }
}

/// `try_read` clears a stale readiness flag when it would block; anything else than that is input or
/// an end.
fn would_block(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(&mut **io).poll_read(cx, buf),
            Self::Memory(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, data),
            Self::Unix(io) => Pin::new(io).poll_write(cx, data),
            Self::Tls(io) => Pin::new(&mut **io).poll_write(cx, data),
            Self::Memory(io) => Pin::new(io).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Unix(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Tls(io) => Pin::new(&mut **io).poll_write_vectored(cx, slices),
            Self::Memory(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Unix(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::Memory(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Unix(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(&mut **io).poll_flush(cx),
            Self::Memory(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Unix(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(&mut **io).poll_shutdown(cx),
            Self::Memory(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

// === impl Socket ===

impl Socket<'_> {
    pub(crate) fn poll_read_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
        }
    }

    pub(crate) fn poll_write_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_ready(cx),
            Self::Unix(unix) => unix.poll_write_ready(cx),
        }
    }

    /// Makes a call on it if it is ready for that, as far as the reactor knows, and notes if it is not.
    pub(crate) fn try_io<R>(
        self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Self::Tcp(tcp) => tcp.try_io(interest, call),
            Self::Unix(unix) => unix.try_io(interest, call),
        }
    }
}

impl AsFd for Socket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

// === impl Prefixed ===

impl Prefixed {
    /// A stream that reads `prefix` first and then what `io` has.
    pub(crate) fn new(prefix: Bytes, io: Io) -> Self {
        Self { prefix, io }
    }

    /// The stream alone; what was to be read first is given up.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..len]);
        self.prefix.advance(len);
        if self.prefix.is_empty() {
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Nothing but the end of TLS: the HTTP server drops the stream right afterwards, and closing it tells the peer the
    /// same with one system call less per connection.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(_) | Io::Unix(_) => Poll::Ready(Ok(())),
            Io::Tls(io) => Pin::new(&mut **io).poll_shutdown(cx),
            Io::Memory(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
