//! Which of several weighted targets a request goes to.
//!
//! Without a sticky key the draw is random per request. With one it is weighted rendezvous hashing:
//! every target gets a score from the hash of key and target name, scaled by its weight, and the best
//! score wins. A target whose weight grows only gains keys and one whose weight shrinks only loses
//! keys, so that a change of weights moves exactly the share that it must and nobody back and forth,
//! whatever the order of the targets. Scores depend on subset names alone: with equal weights a user
//! meets the same version on every hop. Only names that occur twice in a split are told apart by host
//! and port.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, header};
use rustc_hash::FxHashMap;

use crate::inbound::jwt::Token;
use crate::table::edit::HeaderEdit;
use crate::upstream::destination::DestinationId;

/// Weighted targets.
#[derive(Debug)]
pub struct Split {
    targets: Box<[Target]>,
    /// What rendezvous hashing knows each target by.
    hashes: Box<[u64]>,
    weight_total: u64,
    /// Where the sticky key comes from.
    pub sticky: Option<Sticky>,
}

/// One target of a split.
#[derive(Debug)]
pub struct Target {
    /// Host as resolved.
    pub host: Arc<str>,
    /// Subset, if one is named.
    pub subset: Option<Arc<str>>,
    /// Port, if one is named.
    pub port: Option<u16>,
    /// Relative weight, at least 1.
    pub weight: u32,
    /// Destination by the port that is addressed.
    pub destination: DestinationByPort,
    /// Changes of the request's headers.
    pub request_headers: HeaderEdit,
    /// Changes of the response's headers.
    pub response_headers: HeaderEdit,
}

/// The destination of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationByPort {
    /// The rule names the port, or the service has only one.
    Fixed(DestinationId),
    /// The port that the request addresses decides.
    Addressed(Box<[(u16, DestinationId)]>),
    /// The host, port or subset does not exist.
    Unknown,
}

/// Where the sticky key comes from: annotation `meshproxy.io/sticky-by` of a `VirtualService`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// `header:NAME`.
    Header(HeaderName),
    /// `cookie:NAME[;ttl=DURATION]`; with a lifetime a missing cookie is made.
    Cookie {
        /// Cookie name.
        name: Box<str>,
        /// Lifetime of a cookie we make; zero makes a session cookie, none makes none.
        ttl: Option<Duration>,
    },
    /// `source-ip`.
    SourceIp,
    /// `jwt:CLAIM`: the names on the way to the claim, which has dots for them.
    Claim(Box<[Box<str>]>),
}

// === impl Split ===

impl Split {
    /// A split over `targets`; targets without weight must have been left out.
    ///
    /// # Panics
    ///
    /// Never for what validation lets pass: an empty split cannot be written.
    pub fn new(targets: Vec<Target>, sticky: Option<Sticky>) -> Self {
        let weight_total = targets.iter().map(|target| u64::from(target.weight)).sum();
        Self {
            hashes: hashes(&targets),
            targets: targets.into(),
            weight_total,
            sticky,
        }
    }

    /// The target of one request: by its sticky key where it has one, else by `random`.
    pub fn choose(&self, key: Option<u64>, random: u64) -> Option<&Target> {
        match (&*self.targets, key) {
            ([only], _) => Some(only),
            (targets, Some(key)) => rendezvous(targets, &self.hashes, key),
            (targets, None) => {
                // The high half of the product is uniform in 0..total without a division.
                let product = u128::from(random) * u128::from(self.weight_total);
                let mut at = u64::try_from(product >> 64).unwrap_or(0);
                targets.iter().find(|target| {
                    let weight = u64::from(target.weight);
                    let hit = at < weight;
                    at = at.saturating_sub(weight);
                    hit
                })
            }
        }
    }

    /// All targets as written.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Share of a target, 0–1.
    pub fn share(&self, target: &Target) -> f64 {
        f64::from(target.weight) / self.weight_total as f64
    }
}

// === impl Target ===

impl Target {
    /// What people tell versions by: the subset, else the host.
    fn name(&self) -> &str {
        self.subset.as_ref().unwrap_or(&self.host)
    }
}

// === impl DestinationByPort ===

impl DestinationByPort {
    /// The destination of a request that addresses `port`.
    pub fn at(&self, port: u16) -> Option<DestinationId> {
        match self {
            Self::Fixed(id) => Some(*id),
            Self::Addressed(by_port) => {
                let mut by_port = by_port.iter();
                by_port
                    .find(|(candidate, _)| *candidate == port)
                    .map(|(_, id)| *id)
            }
            Self::Unknown => None,
        }
    }
}

/// A hash for each target, of its name where that is its alone. Equal names would give equal scores
/// for every key and with them everything to the heaviest, so those are hashed with what else was
/// written, and whole repetitions with their number.
fn hashes(targets: &[Target]) -> Box<[u64]> {
    let mut repetitions: FxHashMap<(&str, &str, Option<u16>), u32> = FxHashMap::default();
    let mut names: FxHashMap<&str, u32> = FxHashMap::default();
    for target in targets {
        *names.entry(target.name()).or_default() += 1;
    }
    let hash = |target: &Target, before: u32| {
        let name = target.name();
        if names[name] == 1 {
            return stable_hash(name.as_bytes());
        }
        let port = target.port.unwrap_or(0);
        stable_hash(format!("{name}|{}|{port}|{before}", target.host).as_bytes())
    };
    let hashes = targets.iter().map(|target| {
        let written = (target.name(), &*target.host, target.port);
        let count = repetitions.entry(written).or_default();
        let before = *count;
        *count += 1;
        hash(target, before)
    });
    hashes.collect()
}

/// The target with the least `-ln(hash) / weight`, for a hash uniform in (0, 1].
fn rendezvous<'t>(targets: &'t [Target], hashes: &[u64], key: u64) -> Option<&'t Target> {
    let score = |target: &Target, hash: u64| {
        let uniform = ((mix(key ^ hash) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln() / f64::from(target.weight)
    };
    let scored = targets.iter().zip(hashes);
    let scored = scored.map(|(target, hash)| (target, score(target, *hash)));
    let best = scored.min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(target, _)| target)
}

// === impl Sticky ===

impl Sticky {
    /// Reads the annotation's value; `None` for what cannot be used here (validation reports it).
    pub fn parse(annotation: &str) -> Option<Self> {
        let (source, argument) = annotation.split_once(':').unwrap_or((annotation, ""));
        match source.trim() {
            "source-ip" => Some(Self::SourceIp),
            "header" => argument.trim().parse().ok().map(Self::Header),
            "cookie" => {
                let (name, attributes) = argument.split_once(';').unwrap_or((argument, ""));
                let ttl = attributes.trim().strip_prefix("ttl=");
                let ttl = ttl.and_then(|ttl| ttl.parse::<config::value::Duration>().ok());
                let ttl = ttl.map(config::value::Duration::get);
                Some(Self::Cookie {
                    name: name.trim().into(),
                    ttl,
                })
            }
            "jwt" => {
                let path = argument.trim().split('.').map(Into::into);
                Some(Self::Claim(path.collect()))
            }
            _ => None,
        }
    }

    /// Whether headers that the proxy adds can be the key.
    pub(crate) fn looks_at_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::Cookie { .. } | Self::SourceIp | Self::Claim(_) => false,
        }
    }

    /// The key of a request, or `None` when the request has none.
    pub fn key(
        &self,
        headers: &HeaderMap,
        source: Option<IpAddr>,
        token: Option<&Token>,
    ) -> Option<u64> {
        match self {
            Self::Claim(path) => {
                let mut values = token?.claim(path);
                values.next().map(|value| stable_hash(value.as_bytes()))
            }
            Self::Header(name) => headers.get(name).map(|value| stable_hash(value.as_bytes())),
            Self::Cookie { name, .. } => cookie(headers, name).map(stable_hash),
            Self::SourceIp => match source?.to_canonical() {
                IpAddr::V4(ip) => Some(stable_hash(&ip.octets())),
                IpAddr::V6(ip) => Some(stable_hash(&ip.octets())),
            },
        }
    }
}

impl Sticky {
    /// The `set-cookie` line that gives a caller without key the key `value`; none unless this is a
    /// cookie with a lifetime.
    pub fn set_cookie(&self, value: &str) -> Option<HeaderValue> {
        let Self::Cookie {
            name,
            ttl: Some(ttl),
        } = self
        else {
            return None;
        };
        let age = match ttl.as_secs() {
            0 => String::new(),
            seconds => format!("; Max-Age={seconds}"),
        };
        format!("{name}={value}; Path=/{age}; HttpOnly")
            .parse()
            .ok()
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie { name, ttl: None } => write!(f, "cookie {name}"),
            Self::Cookie {
                name,
                ttl: Some(ttl),
            } => write!(f, "cookie {name}, made for {ttl:?}"),
            Self::SourceIp => f.write_str("source address"),
            Self::Claim(path) => write!(f, "claim {}", path.join(".")),
        }
    }
}

/// The value of the cookie `name`.
pub(crate) fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

/// A hash that is the same in every proxy and every release: FNV-1a with a final mix.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    mix(hash)
}

/// Spreads every input bit over all output bits (the finalizer of SplitMix64).
pub(crate) fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(weights: &[(&str, u32)]) -> Split {
        let target = |(name, weight): &(&str, u32)| Target {
            host: "reviews".into(),
            subset: Some((*name).into()),
            port: None,
            weight: *weight,
            destination: DestinationByPort::Unknown,
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
        };
        Split::new(weights.iter().map(target).collect(), None)
    }

    fn chosen(split: &Split, key: Option<u64>, random: u64) -> String {
        let target = split.choose(key, random).expect("a split has targets");
        target.subset.as_deref().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_hundred_thousand_requests_follow_the_weights() {
        let split = split(&[("v1", 90), ("v2", 10)]);
        let mut rng = fastrand::Rng::with_seed(7);

        let second = (0..100_000)
            .filter(|_| chosen(&split, None, rng.u64(..)) == "v2")
            .count();

        assert!((9_700..=10_300).contains(&second), "{second}");
    }

    #[test]
    fn moving_a_share_moves_only_the_users_that_must_move() {
        let users: Vec<u64> = (0..20_000)
            .map(|user| stable_hash(format!("user-{user}").as_bytes()))
            .collect();
        let mut before: Vec<bool> = vec![false; users.len()];
        let mut at_ten: Vec<bool> = Vec::new();

        for (percent, grows) in [(10, true), (20, true), (50, true), (10, false)] {
            let split = split(&[("v1", 100 - percent), ("v2", percent)]);
            let now: Vec<bool> = users
                .iter()
                .map(|user| chosen(&split, Some(*user), 0) == "v2")
                .collect();

            let moved_back = before
                .iter()
                .zip(&now)
                .filter(|(was, is)| **was && !**is)
                .count();
            let moved_in = before
                .iter()
                .zip(&now)
                .filter(|(was, is)| !**was && **is)
                .count();
            assert_eq!(
                if grows { moved_back } else { moved_in },
                0,
                "at {percent} %"
            );
            let share = now.iter().filter(|v2| **v2).count() as f64 / users.len() as f64;
            assert!(
                (share * 100.0 - f64::from(percent)).abs() < 1.0,
                "{share} at {percent} %"
            );
            if at_ten.is_empty() {
                at_ten.clone_from(&now);
            }
            before = now;
        }

        assert_eq!(
            before, at_ten,
            "back at 10 % the same users see v2 as at first"
        );
    }

    #[test]
    fn targets_of_one_name_share_users_by_their_weights() {
        let target = |host: &str, port: Option<u16>, weight: u32| Target {
            host: host.into(),
            subset: Some("v1".into()),
            port,
            weight,
            destination: DestinationByPort::Unknown,
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
        };
        let others = [
            ("ratings", None),
            ("reviews", Some(9090)),
            ("reviews", Some(9080)),
        ];

        for (host, port) in others {
            let targets = vec![target("reviews", Some(9080), 60), target(host, port, 40)];
            let split = Split::new(targets, None);
            let users = (0..10_000).map(|user| stable_hash(format!("user-{user}").as_bytes()));
            let second = users
                .filter(|user| {
                    split
                        .choose(Some(*user), 0)
                        .is_some_and(|it| it.weight == 40)
                })
                .count();

            assert!(
                (3_800..=4_200).contains(&second),
                "{second} at {host}:{port:?}"
            );
        }
    }

    #[test]
    fn a_name_of_its_own_alone_decides_whatever_the_host() {
        let on = |host: &str| {
            let mut targets: Vec<Target> = split(&[("v1", 1), ("v2", 1)]).targets.into();
            for target in &mut targets {
                target.host = host.into();
            }
            Split::new(targets, None)
        };
        let (here, there) = (on("reviews"), on("ratings"));

        for user in 0..1_000 {
            let key = Some(stable_hash(&[user as u8, (user >> 8) as u8]));
            assert_eq!(chosen(&here, key, 0), chosen(&there, key, 0));
        }
    }

    #[test]
    fn annotations_parse() {
        let cookie = |ttl| Sticky::Cookie {
            name: "user".into(),
            ttl,
        };

        assert_eq!(Sticky::parse("source-ip"), Some(Sticky::SourceIp));
        assert_eq!(
            Sticky::parse("header:End-User"),
            Some(Sticky::Header(HeaderName::from_static("end-user")))
        );
        assert_eq!(Sticky::parse("cookie:user"), Some(cookie(None)));
        assert_eq!(
            Sticky::parse("cookie:user;ttl=0s"),
            Some(cookie(Some(Duration::ZERO)))
        );
        assert_eq!(
            Sticky::parse("cookie:user; ttl=1h"),
            Some(cookie(Some(Duration::from_secs(3_600))))
        );
        assert_eq!(
            Sticky::parse("jwt:user.name"),
            Some(Sticky::Claim(["user".into(), "name".into()].into()))
        );
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            "a=1; user=jason".parse().expect("header value"),
        );
        headers.append(header::COOKIE, "users=x".parse().expect("header value"));
        let sticky = Sticky::Cookie {
            name: "user".into(),
            ttl: None,
        };

        assert_eq!(
            sticky.key(&headers, None, None),
            Some(stable_hash(b"jason"))
        );
    }

    proptest! {
        #[test]
        fn a_change_of_weights_moves_keys_only_towards_what_grew(
            key in any::<u64>(),
            weights in prop::collection::vec((1..100_u32, 1..100_u32), 2..6),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|at| format!("v{at}")).collect();
            let pairs = |pick: fn(&(u32, u32)) -> u32| -> Vec<(&str, u32)> {
                names.iter().map(String::as_str).zip(weights.iter().map(pick)).collect()
            };
            let (before, after) = (split(&pairs(|w| w.0)), split(&pairs(|w| w.1)));

            let from = chosen(&before, Some(key), 0);
            let to = chosen(&after, Some(key), 0);

            let ratio = |name: &String| {
                let at = names.iter().position(|known| known == name).expect("known");
                f64::from(weights[at].1) / f64::from(weights[at].0)
            };
            prop_assert!(from == to || ratio(&to) > ratio(&from));
        }
    }
}
