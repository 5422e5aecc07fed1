//! What is wrong with the TLS of a destination, told in the log once in a while: it is the first that
//! an operator wants to know, and each request would tell it again.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tls::client::TlsFault;
use crate::upstream::connect::ConnectFault;

/// How long the same complaint is not repeated, in seconds.
const SPAN_SECONDS: u64 = 60;
/// Kinds of complaints: those of TLS, and that what is asked for cannot be done.
const KINDS: usize = TlsFault::COUNT + 1;

/// When each kind was told last by any worker, in seconds; 0 is never.
#[derive(Debug)]
pub(crate) struct Complaints([AtomicU64; KINDS]);

// === impl Complaints ===

impl Complaints {
    /// Whether a fault is to be told at a time, in seconds. If the clock was set back it is.
    pub(crate) fn tells(&self, fault: ConnectFault, now: u64) -> bool {
        let kind = match fault {
            ConnectFault::Tls(fault) => fault as usize,
            ConnectFault::Shut => TlsFault::COUNT,
            ConnectFault::Refused
            | ConnectFault::Unreachable
            | ConnectFault::TimedOut
            | ConnectFault::Handshake
            | ConnectFault::Other => return false,
        };
        let told = &self.0[kind];
        let last = told.load(Ordering::Relaxed);
        let is_recent = last != 0 && now >= last && now - last < SPAN_SECONDS;
        // Of several workers that find out at once, one tells.
        !is_recent
            && told
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Default for Complaints {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while() {
        let complaints = Complaints::default();
        let name = ConnectFault::Tls(TlsFault::WrongName);

        assert!(complaints.tells(name, 1_000));
        assert!(!complaints.tells(name, 1_000));
        assert!(complaints.tells(ConnectFault::Tls(TlsFault::NoHttp2), 1_001));
        assert!(complaints.tells(ConnectFault::Shut, 1_001));
        assert!(!complaints.tells(name, 1_059));
        assert!(complaints.tells(name, 1_060));
        assert!(complaints.tells(name, 30), "the clock was set back");
        assert!(!complaints.tells(ConnectFault::Refused, 2_000), "no TLS");
    }
}
