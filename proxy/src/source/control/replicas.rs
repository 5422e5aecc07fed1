//! Which control plane is tried next, and when. No IO; time and chance are arguments.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// Longest wait after the first round in which nobody could be reached; doubles with each that follows.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest wait at all.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Doublings that lead beyond that.
const DOUBLINGS_MAX: u32 = 7;

/// Where control planes are, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Whether it is spoken to in TLS.
    pub secure: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) replica: Replica,
    pub(super) addr: SocketAddr,
}

/// The order in which control planes are tried.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Those of this round, the next one last.
    left: Vec<Target>,
    /// The one that was used last.
    last: Option<SocketAddr>,
    /// Rounds in a row that led to nobody.
    failures: u32,
}

// === impl Replica ===

impl FromStr for Replica {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be such as https://meshcontrol.istio-system:15012, got \"{text}\"");
        let uri: http::Uri = text.trim().parse().map_err(|_| wrong())?;
        let (secure, port) = match uri.scheme_str() {
            Some("https") => (true, 15_012),
            Some("http") => (false, 15_010),
            Some(_) | None => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']);
        let has_more =
            uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@');
        if host.is_empty() || has_more {
            return Err(wrong());
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(port),
        })
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Replica {
    /// Host and port, as in the target of a request.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

// === impl Order ===

impl Order {
    /// Begins a round with all that can be tried, in an order by chance; the one that was used last
    /// comes last.
    pub(super) fn begin(&mut self, mut targets: Vec<Target>, shuffle: impl FnOnce(&mut [Target])) {
        shuffle(&mut targets);
        // Stable, and the next one stands last.
        targets.sort_by_key(|target| Some(target.addr) != self.last);
        self.left = targets;
    }

    /// The next one to try; none at the end of the round.
    pub(super) fn next(&mut self) -> Option<Target> {
        let next = self.left.pop();
        if let Some(target) = &next {
            self.last = Some(target.addr);
        }
        next
    }

    /// One served: the next round is a first one.
    pub(super) fn served(&mut self) {
        self.failures = 0;
        self.left.clear();
    }

    /// The wait at the end of a round that led to nobody; `chance` is from 0 to 1.
    pub(super) fn failed(&mut self, chance: f64) -> Duration {
        let longest = RETRY_MIN * 2_u32.pow(self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        longest.min(RETRY_MAX).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target {
            replica: "http://control".parse().expect("a URL"),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn round(order: &mut Order, ports: &[u16]) -> Vec<u16> {
        order.begin(ports.iter().map(|port| target(*port)).collect(), |_| {});
        std::iter::from_fn(|| order.next().map(|it| it.addr.port())).collect()
    }

    #[test]
    fn urls_of_control_planes_are_read() {
        for (text, expected) in [
            ("https://control", "https://control:15012"),
            ("http://control", "http://control:15010"),
            (
                "https://control.istio-system.svc:1/",
                "https://control.istio-system.svc:1",
            ),
            ("https://[::1]:5", "https://[::1]:5"),
        ] {
            let replica: Replica = text.parse().expect(text);
            assert_eq!(replica.to_string(), expected);
        }
        for text in [
            "",
            "control:15012",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u@a",
            "https://a?b",
        ] {
            assert!(text.parse::<Replica>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_one_that_was_used_last_is_tried_last() {
        let mut order = Order::default();
        order.begin(vec![target(1), target(2), target(3)], |_| {});
        assert_eq!(order.next().map(|it| it.addr.port()), Some(3));
        order.served();

        assert_eq!(round(&mut order, &[1, 2, 3]), [2, 1, 3]);
        assert_eq!(round(&mut order, &[3]), [3], "there is no other");
    }

    #[test]
    fn waits_grow_to_a_bound_and_chance_decides_how_much_of_them_passes() {
        let mut order = Order::default();

        let waits: Vec<u128> = (0..9).map(|_| order.failed(1.0).as_millis()).collect();

        assert_eq!(
            waits,
            [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
        );
        assert_eq!(order.failed(0.0), Duration::ZERO);
        order.served();
        assert_eq!(order.failed(0.5), Duration::from_millis(50));
    }
}
