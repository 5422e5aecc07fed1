//! Whether a TLS connection that rests is still of use.
//!
//! Not all that a server sends unasked speaks against its connection: TLS 1.3 sends tickets for later
//! sessions when it likes, and news of its keys (RFC 8446 §4.6). They are taken in, and the connection
//! goes on resting. Data, a farewell, an alert and the end of the stream are what ends it.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio_rustls::TlsStream;

use super::Io;

/// Reads of one look at a socket. The tickets of a handshake come in one; a server that has more to
/// say while nobody asks is left.
const READS_MAX: usize = 4;

/// Reads from a socket without asking the reactor first.
struct Direct<'a>(&'a Io);

/// Whether there is more than tickets, as far as the reactor knows: without a system call while it has
/// seen no event.
pub(super) fn has_more(tls: &mut TlsStream<Io>) -> bool {
    let mut byte = [0; 1];
    let mut cx = Context::from_waker(Waker::noop());
    let read = Pin::new(tls).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
    read.is_ready()
}

/// The same, as the system has it at this moment.
pub(super) fn has_more_now(tls: &mut TlsStream<Io>) -> bool {
    if has_more(tls) {
        return true;
    }
    let TlsStream::Client(tls) = tls else {
        return true;
    };
    let (io, session) = tls.get_mut();
    for _ in 0..READS_MAX {
        match session.read_tls(&mut Direct(io)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        let is_silent = session
            .process_new_packets()
            .is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
        if !is_silent {
            return true;
        }
    }
    true
}

// === impl Direct ===

impl Read for Direct<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            Io::Tcp(tcp) => (&*SockRef::from(tcp)).read(buf),
            Io::Unix(unix) => (&*SockRef::from(unix)).read(buf),
            // There is no system below that would know more.
            Io::Tls(_) | Io::Memory(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

#[cfg(test)]
mod tests;
