//! An authority that we made ourselves, and how its root rotates.
//!
//! A root is replaced by overlap, so that at no time a workload meets a certificate that it does not
//! believe: the new root is believed beside the old one for longer than the longest certificate lives,
//! then it signs; the old one is believed until the last certificate that it signed is over. Whoever
//! renews his certificate learns the roots, so all have learned of the new one by then.
//!
//! This is a function of what is kept and of time. It is the same text in a Secret and in a file.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authority::validity::CLOCK_SKEW;
use authority::{Authority, AuthorityError, Bundle};
use serde::{Deserialize, Serialize};

use super::trust::{Trust, TrustError};

/// Files by name.
pub(crate) type Files = BTreeMap<String, String>;

/// Certificate of what signs.
pub(crate) const CERTIFICATE: &str = "ca-cert.pem";
/// Its key.
pub(crate) const KEY: &str = "ca-key.pem";
/// All that is believed.
pub(crate) const ROOTS: &str = "root-cert.pem";
const NEXT_CERTIFICATE: &str = "next-ca-cert.pem";
const NEXT_KEY: &str = "next-ca-key.pem";
const OLD_ROOT: &str = "old-root-cert.pem";
const ROTATION: &str = "rotation.json";

/// How long a root is valid that is made here, ten years.
const ROOT_LIFETIME: Duration = authority::authority::LIFETIME_MAX;
/// After how many hundredths of its life a root is replaced.
const REPLACED_AFTER_PERCENT: u32 = 80;
/// How much longer than the longest certificate lives a new root is believed before it signs: time
/// for workloads that could not renew at once.
const MARGIN: Duration = Duration::from_secs(3_600);

/// Roots of our own: one that signs, and while they rotate another.
#[derive(Debug)]
pub(crate) struct Ring {
    current: Authority,
    turn: Turn,
    /// The longest that certificates below these roots were ever allowed to live.
    longest: Duration,
    /// Whether another root was asked for. During a rotation that waits until it is over.
    asked: bool,
    name: String,
}

/// How far a rotation is.
#[derive(Debug)]
enum Turn {
    /// There is one root.
    None,
    /// The next one is believed, so that it can sign one day.
    Announced {
        next: Box<Authority>,
        since: SystemTime,
    },
    /// The next one has become the current one, and the one before is still believed.
    Leaving { old: Bundle, until: SystemTime },
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Certificates may live longer than before.
    Longest,
    /// There is a new root beside the old one.
    Announced,
    /// The new one signs.
    Turned,
    /// The old one is not believed any more.
    Left,
}

/// What is kept beside certificates and keys.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rotation {
    /// See [`Ring::longest`].
    longest_lifetime_seconds: u64,
    /// Since when the next root is believed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    announced: Option<u64>,
    /// Until when the old root is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_until: Option<u64>,
    /// See [`Ring::asked`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asked: bool,
}

// === impl Ring ===

impl Ring {
    /// A new root. Certificates will live at most `longest`.
    pub(crate) fn make(
        name: &str,
        longest: Duration,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        Ok(Self {
            current: Authority::root(name, now, ROOT_LIFETIME)?,
            turn: Turn::None,
            longest,
            asked: false,
            name: name.to_owned(),
        })
    }

    /// Asks for another root. One that was asked for and has not come yet is the same.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Does the next step of a rotation if it is time for it. One begins when the root is old, or
    /// when it was asked for. Steps follow one another: call it until there is none.
    pub(crate) fn step(
        &mut self,
        longest: Duration,
        now: SystemTime,
    ) -> Result<Option<Change>, AuthorityError> {
        if longest > self.longest {
            self.longest = longest;
            return Ok(Some(Change::Longest));
        }
        if !self.is_due(now) {
            return Ok(None);
        }
        let change = match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::None => {
                let next = Box::new(Authority::root(&self.name, now, ROOT_LIFETIME)?);
                self.turn = Turn::Announced { next, since: now };
                self.asked = false;
                Change::Announced
            }
            Turn::Announced { next, .. } => {
                let before = std::mem::replace(&mut self.current, *next);
                let mut old = Bundle::default();
                // An empty bundle has room, and what signed is an authority.
                let _ = old.add(before.certificate());
                let until = now + self.longest + CLOCK_SKEW * 2;
                self.turn = Turn::Leaving { old, until };
                Change::Turned
            }
            Turn::Leaving { .. } => Change::Left,
        };
        Ok(Some(change))
    }

    /// Whether it is time for the next step.
    fn is_due(&self, now: SystemTime) -> bool {
        match &self.turn {
            Turn::None => self.asked || now >= self.replaced_at(),
            // Nobody believes what an expired root signed, so that there is nothing to wait for.
            Turn::Announced { since, .. } => {
                now >= *since + self.longest + MARGIN || now > self.current.validity().not_after
            }
            Turn::Leaving { until, .. } => now >= *until,
        }
    }

    fn replaced_at(&self) -> SystemTime {
        let validity = self.current.validity();
        let life = validity.not_after.duration_since(validity.not_before);
        validity.not_before + life.unwrap_or_default() / 100 * REPLACED_AFTER_PERCENT
    }

    /// All that is believed; what signs first.
    pub(crate) fn roots(&self) -> Result<Bundle, TrustError> {
        let mut roots = Bundle::default();
        roots.add(self.current.certificate())?;
        match &self.turn {
            Turn::None => {}
            Turn::Announced { next, .. } => roots.add(next.certificate())?,
            Turn::Leaving { old, .. } => {
                for root in old.roots() {
                    roots.add(root)?;
                }
            }
        }
        Ok(roots)
    }

    /// What signs and what is believed.
    pub(crate) fn trust(&self, now: SystemTime) -> Result<Trust, TrustError> {
        let (chain, key) = (self.current.chain_pem(), self.current.key_pem());
        Trust::new(Authority::load(&chain, &key)?, self.roots()?, now)
    }

    /// As it is kept.
    pub(crate) fn to_files(&self) -> Result<Files, TrustError> {
        let mut rotation = Rotation {
            longest_lifetime_seconds: self.longest.as_secs(),
            asked: self.asked,
            ..Rotation::default()
        };
        let mut files = Files::from([
            (CERTIFICATE.to_owned(), self.current.chain_pem()),
            (KEY.to_owned(), self.current.key_pem()),
            (ROOTS.to_owned(), self.roots()?.to_pem()),
        ]);
        match &self.turn {
            Turn::None => {}
            Turn::Announced { next, since } => {
                files.insert(NEXT_CERTIFICATE.to_owned(), next.chain_pem());
                files.insert(NEXT_KEY.to_owned(), next.key_pem());
                rotation.announced = Some(seconds(*since));
            }
            Turn::Leaving { old, until } => {
                files.insert(OLD_ROOT.to_owned(), old.to_pem());
                rotation.old_until = Some(seconds(*until));
            }
        }
        let rotation = serde_json::to_string(&rotation).unwrap_or_default();
        files.insert(ROTATION.to_owned(), rotation);
        Ok(files)
    }

    /// What is kept. `longest` counts if it is not said.
    pub(crate) fn from_files(
        files: &Files,
        name: &str,
        longest: Duration,
    ) -> Result<Self, TrustError> {
        let file = |name: &'static str| files.get(name).ok_or(TrustError::Missing(name));
        let current = Authority::load(file(CERTIFICATE)?, file(KEY)?)?;
        let rotation: Rotation = match files.get(ROTATION) {
            Some(text) => serde_json::from_str(text).map_err(|_| TrustError::Missing(ROTATION))?,
            None => Rotation::default(),
        };
        let turn = match (rotation.announced, rotation.old_until) {
            (Some(since), _) => Turn::Announced {
                next: Box::new(Authority::load(file(NEXT_CERTIFICATE)?, file(NEXT_KEY)?)?),
                since: UNIX_EPOCH + Duration::from_secs(since),
            },
            (None, Some(until)) => Turn::Leaving {
                old: Bundle::from_pem(file(OLD_ROOT)?)?,
                until: UNIX_EPOCH + Duration::from_secs(until),
            },
            (None, None) => Turn::None,
        };
        let kept = Duration::from_secs(rotation.longest_lifetime_seconds);
        Ok(Self {
            current,
            turn,
            longest: if kept.is_zero() { longest } else { kept },
            asked: rotation.asked,
            name: name.to_owned(),
        })
    }
}

// === impl Change ===

impl Change {
    /// Says how far a rotation is.
    pub(super) fn tell(self) {
        let what = match self {
            Self::Longest => "certificates may live longer than before",
            Self::Announced => "a new root is believed beside the old one",
            Self::Turned => "the new root signs",
            Self::Left => "the old root is not believed any more",
        };
        tracing::info!(target: "audit", "{what}");
    }
}

/// An authority from elsewhere: a certificate below a root whose key is not here, as Istio's Secret
/// `cacerts` has it, or one of cert-manager.
pub(crate) fn plugged(files: &Files, now: SystemTime) -> Result<Trust, TrustError> {
    let either = |ours: &'static str, theirs: &str| {
        let found = files.get(ours).or_else(|| files.get(theirs));
        found.ok_or(TrustError::Missing(ours))
    };
    let certificate = either(CERTIFICATE, "tls.crt")?;
    let key = either(KEY, "tls.key")?;
    let roots = Bundle::from_pem(either(ROOTS, "ca.crt")?)?;
    // What is above it may begin with itself, and may be missing if that is the root.
    let above = files.get("cert-chain.pem").map_or("", String::as_str);
    let above = above.trim_start();
    let above = above.strip_prefix(certificate.trim()).unwrap_or(above);
    let authority = Authority::load(&format!("{}\n{above}", certificate.trim()), key)?;
    Trust::new(authority, roots, now)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
