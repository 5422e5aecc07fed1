//! What a request is for: the characters of its target, and the form of its authority. The same for
//! every version of HTTP, since what comes by one may go on by another.

/// Whether a target is made of what RFC 3986 has for URIs, and has no fragment.
pub(crate) fn is_visible(target: &[u8]) -> bool {
    let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    target.iter().all(visible)
}

/// Whether a host is what an authority may be (RFC 3986 §3.2), without user information: a name or an
/// address, and perhaps a port.
pub(crate) fn is_authority(host: &[u8]) -> bool {
    let split_at = |at: usize| (&host[..at], &host[at..]);
    let (name, port) = match host.first() {
        Some(b'[') => match memchr::memchr(b']', host) {
            Some(end) => split_at(end + 1),
            None => return false,
        },
        _ => split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let known = match name.strip_prefix(b"[") {
        Some(address) => {
            let address = address.strip_suffix(b"]").unwrap_or_default();
            let address = std::str::from_utf8(address).unwrap_or_default();
            address.parse::<std::net::Ipv6Addr>().is_ok()
        }
        None => name.iter().all(is_name) && !is_nameless(name),
    };
    known && is_port(port)
}

/// Whether nothing is left of a name, or its end has no name before it, once the dot is taken off that
/// stands for the root of DNS. Whoever takes off one dot and whoever takes off all would see two hosts
/// where there are more.
fn is_nameless(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.is_empty() || name.ends_with(b".")
}

/// Nothing, or a colon with a number or, as RFC 3986 §3.2.3 allows, without.
fn is_port(port: &[u8]) -> bool {
    match port.strip_prefix(b":") {
        None => port.is_empty(),
        Some(b"") => true,
        Some(digits) => {
            let digits = std::str::from_utf8(digits).ok();
            let digits = digits.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
            digits.is_some_and(|digits| digits.parse::<u16>().is_ok())
        }
    }
}

/// Whether a byte may stand in a name (RFC 3986 §3.2.2), by its value.
static NAME_BYTES: [bool; 256] = {
    let others = b"-._~!$&'()*+;=";
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < allowed.len() {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        allowed[others[at] as usize] = true;
        at += 1;
    }
    allowed
};

fn is_name(byte: &u8) -> bool {
    NAME_BYTES[usize::from(*byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_ends_in_one_dot_at_most() {
        for host in ["a.test", "a.test.", "a.test.:80", "a.test:", "[::1]:80"] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ".",
            "..",
            ":80",
            ".:80",
            "a.test..",
            "a.test..:80",
            "a@b",
        ] {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }
}
