//! Networks, as rules write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits: `10.1.0.0/16`, or `10.1.2.3` alone. Bits of the written
/// address beyond those that count make no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpBlock {
    first: IpAddr,
    bits: u32,
}

/// The text is no address and no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address or a network such as 10.1.0.0/16, got \"{0}\"")]
pub struct IpBlockError(String);

// === impl IpBlock ===

impl IpBlock {
    /// The lowest address of them.
    pub fn first(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() & mask).into()
            }
            IpAddr::V6(first) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() & mask).into()
            }
        }
    }

    /// Whether `addr` is one of them. An address of IPv4 is the same when it is written as one of
    /// IPv6.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.first, addr.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(addr)) => {
                (first.to_bits() ^ addr.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(addr)) => {
                (first.to_bits() ^ addr.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl From<IpAddr> for IpBlock {
    /// The address alone.
    fn from(addr: IpAddr) -> Self {
        let first = addr.to_canonical();
        let bits = if first.is_ipv4() { 32 } else { 128 };
        Self { first, bits }
    }
}

impl FromStr for IpBlock {
    type Err = IpBlockError;

    fn from_str(text: &str) -> Result<Self, IpBlockError> {
        let wrong = || IpBlockError(text.to_owned());
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = addr.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            // Signs and leading zeros are no part of a length.
            Some(text) if text.bytes().all(|it| it.is_ascii_digit()) && !is_padded(text) => {
                text.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => most,
        };
        if bits > most {
            return Err(wrong());
        }
        Ok(match (first.to_canonical(), bits.checked_sub(96)) {
            (first @ IpAddr::V4(_), Some(bits)) if most == 128 => Self { first, bits },
            _ => Self { first, bits },
        })
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.bits)
    }
}

fn is_padded(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0')
}

impl IpBlock {
    /// The address, if it is one alone.
    pub fn alone(&self) -> Option<IpAddr> {
        let bits_max = if self.first.is_ipv4() { 32 } else { 128 };
        (self.bits == bits_max).then_some(self.first)
    }

    /// How many bits of it count.
    pub fn bits(&self) -> u32 {
        self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_addresses_that_begin_with_its_bits() {
        for (block, addr, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/16", "10.1.255.1", true),
            ("10.1.0.0/16", "10.2.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.1.2.3", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
        ] {
            let parsed: IpBlock = block.parse().expect("a block");

            let addr = addr.parse().expect("an address");
            assert_eq!(parsed.contains(addr), expected, "{block} {addr}");
        }
    }

    #[test]
    fn a_block_is_written_by_its_first_address() {
        for (text, written) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/16", "10.1.0.0/16"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:db8::7/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("2001::/0", "::/0"),
            ("::ffff:10.9.9.9/104", "10.0.0.0/8"),
        ] {
            let block: IpBlock = text.parse().expect("a block");

            assert_eq!(block.to_string(), written);
            assert_eq!(
                written.parse(),
                Ok(block).map(|it: IpBlock| IpBlock {
                    first: it.first(),
                    ..it
                })
            );
        }
        let alone: IpAddr = [10, 1, 2, 3].into();
        assert_eq!(IpBlock::from(alone).to_string(), "10.1.2.3/32");
    }

    #[test]
    fn a_block_begins_with_its_lowest_address() {
        for (text, first, bits) in [
            ("10.1.2.3", "10.1.2.3", 32),
            ("10.1.2.3/16", "10.1.0.0", 16),
            ("1.2.3.4/0", "0.0.0.0", 0),
            ("2001:db8::7/32", "2001:db8::", 32),
            ("2001::/0", "::", 0),
            ("::ffff:10.9.9.9/104", "10.0.0.0", 8),
        ] {
            let block: IpBlock = text.parse().expect("a block");

            assert_eq!(block.first().to_string(), first, "{text}");
            assert_eq!(block.bits(), bits, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_blocks() {
        for text in [
            "",
            "a.b.c.d",
            "1.2.3",
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "::/129",
            "1.2.3.4 ",
            "*",
        ] {
            assert!(text.parse::<IpBlock>().is_err(), "{text}");
        }
    }
}
