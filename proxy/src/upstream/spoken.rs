//! What connections to a destination turned out to speak whose protocol nobody declared.
//!
//! Workers share the counts. They say what is to be expected of the next connection: whether it is worth
//! the while to wait for its client before an upstream is connected.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a connection turned out to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoke {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// TLS that is not ours to end.
    Tls,
    /// Something else, the client first.
    Opaque,
    /// Something else, the server first.
    ServerFirst,
}

/// How many connections spoke what; outlives reloads.
#[derive(Debug, Default)]
pub struct Spoken([AtomicU64; Spoke::ALL.len()]);

// === impl Spoke ===

impl Spoke {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Http1,
        Self::Http2,
        Self::Tls,
        Self::Opaque,
        Self::ServerFirst,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Opaque => "opaque",
            Self::ServerFirst => "server_first",
        }
    }
}

// === impl Spoken ===

impl Spoken {
    /// Counts a connection.
    pub(crate) fn note(&self, spoke: Spoke) {
        self.0[spoke as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections spoke it.
    pub fn count(&self, spoke: Spoke) -> u64 {
        self.0[spoke as usize].load(Ordering::Relaxed)
    }

    /// Whether HTTP is to be expected: most connections so far spoke it.
    pub(crate) fn is_http(&self) -> bool {
        let http = self.count(Spoke::Http1) + self.count(Spoke::Http2);
        let others = [Spoke::Tls, Spoke::Opaque, Spoke::ServerFirst];
        http > others.into_iter().map(|it| self.count(it)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_connections_spoke_is_expected() {
        let spoken = Spoken::default();
        assert!(!spoken.is_http(), "nothing is known");

        spoken.note(Spoke::Http1);
        spoken.note(Spoke::Http2);
        assert!(spoken.is_http());

        spoken.note(Spoke::ServerFirst);
        spoken.note(Spoke::Opaque);
        assert!(!spoken.is_http());
        assert_eq!(Spoke::ALL.map(|it| spoken.count(it)), [1, 1, 0, 1, 1]);
    }
}
