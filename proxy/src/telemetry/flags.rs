//! Why an answer is not simply what the upstream said, in the short names that Envoy's access log
//! made known.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde::{Serialize, Serializer};

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

/// Defines the flags once, in the order in which they are shown.
macro_rules! flags {
    ($($bit:literal $name:ident $meaning:literal,)*) => {
        impl Flags {
            $(#[doc = $meaning] pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

// What was decided before an attempt comes first and how the attempt ended last, which is also the
// order in which Envoy shows the usual pairs: `DI,UT`, `URX,UF`.
flags! {
    0 DPE "The downstream broke the protocol.",
    1 IH "A header that steers the proxy has an invalid value.",
    2 OM "The proxy sheds load.",
    3 LH "The own workload failed its health check.",
    4 NR "No route: nothing is configured for the request.",
    5 NC "The route leads to a destination that is not known.",
    6 NFCF "A stage that the route needs is not configured.",
    7 DI "Delayed by fault injection.",
    8 FI "Aborted by fault injection.",
    9 RL "Rate limited.",
    10 RLSE "The rate limit could not be decided.",
    11 UAEX "Refused by authorization.",
    12 URX "Retries are used up.",
    13 DF "The name of the upstream could not be resolved.",
    14 DO "Dropped on purpose, as the configuration asks.",
    15 UH "No healthy upstream endpoint.",
    16 UO "A limit of the destination (circuit breaker) is reached.",
    17 UF "Connecting to the upstream failed.",
    18 UC "The upstream closed the connection.",
    19 UR "The upstream reset the stream.",
    20 LR "The proxy reset the stream.",
    21 UPE "The upstream broke the protocol.",
    22 UT "The upstream took longer than the timeout.",
    23 UMSDR "The upstream stream lasted longer than allowed.",
    24 SI "The stream was idle for too long.",
    25 DT "The request or connection lasted longer than allowed.",
    26 DC "The downstream closed the connection.",
    27 DR "The downstream reset the stream.",
}

// === impl Flags ===

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The set as a number, to be part of a key.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The set with this number; bits without a meaning are left out when shown.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Display for Flags {
    /// Short names joined by a comma; `-` when there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let set = Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        for (position, (_, name)) in set.enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_is_a_dash() {
        assert_eq!(Flags::default().to_string(), "-");
        assert!(Flags::NONE.is_empty());
    }

    #[test]
    fn flags_are_joined_by_a_comma_in_the_usual_order() {
        assert_eq!((Flags::UF | Flags::URX).to_string(), "URX,UF");
        assert_eq!((Flags::UC | Flags::URX).to_string(), "URX,UC");
        assert_eq!((Flags::UT | Flags::DI).to_string(), "DI,UT");
        assert_eq!(Flags::NR.to_string(), "NR");
    }

    #[test]
    fn every_flag_has_a_bit_of_its_own() {
        let mut all = Flags::NONE;
        for (flag, name) in Flags::NAMES {
            assert_eq!(flag.bits().count_ones(), 1, "{name}");
            assert!(!all.contains(*flag), "{name}");
            assert_eq!(flag.to_string(), *name);
            all |= *flag;
        }
        assert_eq!(Flags::from_bits(all.bits()), all);
    }
}
