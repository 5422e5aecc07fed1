//! Headers of the PROXY protocol, versions 1 and 2, as pure functions of the bytes so far.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest line of version 1, with its end.
pub(super) const LINE_BYTES_MAX: usize = 107;
/// The shortest, of which all bytes can be read without a look: `PROXY UNKNOWN` and the end.
const LINE_BYTES_MIN: usize = 15;
/// What begins a line of version 1.
const LINE_BEGIN: &[u8] = b"PROXY ";
/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What is always there of version 2: signature, command, family and length.
const FIXED_BYTES: usize = 16;
/// Longest rest of version 2. Addresses take 216 bytes at most; what else balancers say, such as names
/// and certificates, is skipped.
const REST_BYTES_MAX: usize = 4 * 1024;

/// Who is connected to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// What is to be read next of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes at most, at least one: all of them are the header's.
    Bytes(usize),
    /// What is left of a line, so many bytes at most, at least one.
    Line(usize),
    /// Nothing: this is what it says, none if the sender speaks for itself.
    Done(Option<Addresses>),
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// They begin with something else.
    #[error("it does not begin with a header of the PROXY protocol")]
    Missing,
    /// They begin as a header does, and go on otherwise.
    #[error("the header of the PROXY protocol is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than it may be.
    #[error("the header of the PROXY protocol is too long")]
    TooLong,
}

/// What follows the bytes of a header that were read so far.
pub(super) fn next(read: &[u8]) -> Result<Next, Fault> {
    if let Some(fixed) = read.first_chunk::<FIXED_BYTES>() {
        if fixed.starts_with(SIGNATURE) {
            return next_of_binary(fixed, &read[FIXED_BYTES..]);
        }
    } else if SIGNATURE.starts_with(read.get(..SIGNATURE.len()).unwrap_or(read)) && !read.is_empty()
    {
        return Ok(Next::Bytes(FIXED_BYTES - read.len()));
    }
    next_of_line(read)
}

/// Version 1, or bytes that are too few to tell.
fn next_of_line(read: &[u8]) -> Result<Next, Fault> {
    let begin = &read[..read.len().min(LINE_BEGIN.len())];
    if !LINE_BEGIN.starts_with(begin) {
        return Err(Fault::Missing);
    }
    if let Some(line) = read.strip_suffix(b"\r\n") {
        return addresses_of_line(line).map(Next::Done);
    }
    if read.contains(&b'\n') {
        return Err(Fault::Malformed("the line ends where it must not"));
    }
    match LINE_BYTES_MAX.checked_sub(read.len()) {
        None | Some(0) => Err(Fault::TooLong),
        Some(_) if read.len() < LINE_BYTES_MIN => Ok(Next::Bytes(LINE_BYTES_MIN - read.len())),
        Some(left) => Ok(Next::Line(left)),
    }
}

/// What a whole line says, its end left out.
fn addresses_of_line(line: &[u8]) -> Result<Option<Addresses>, Fault> {
    let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed("it is not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let is_v4 = match family {
        // Whatever else it says is to be ignored.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => true,
        Some("TCP6") => false,
        Some(_) | None => return Err(Fault::Malformed("the family is unknown")),
    };
    let [source, destination, source_port, destination_port] = [(); 4].map(|()| words.next());
    if words.next().is_some() {
        return Err(Fault::Malformed("it goes on after the ports"));
    }
    let addr = |addr: Option<&str>, port: Option<&str>| {
        let addr: IpAddr = match is_v4 {
            true => addr?.parse::<Ipv4Addr>().ok()?.into(),
            false => addr?.parse::<Ipv6Addr>().ok()?.into(),
        };
        Some(SocketAddr::new(addr, port_of(port?)?))
    };
    let source = addr(source, source_port);
    let destination = addr(destination, destination_port);
    match (source, destination) {
        (Some(source), Some(destination)) => Ok(Some(Addresses {
            source,
            destination,
        })),
        (None, _) | (_, None) => Err(Fault::Malformed("an address or a port is none")),
    }
}

/// A port in digits alone, without zeros before it.
fn port_of(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Version 2, of which `rest` was read after the part that is always there.
fn next_of_binary(fixed: &[u8; FIXED_BYTES], rest: &[u8]) -> Result<Next, Fault> {
    let [.., version_and_command, family, high, low] = *fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 {
        return Err(Fault::Malformed("the version is unknown"));
    }
    if len > REST_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    if rest.len() < len {
        return Ok(Next::Bytes(len - rest.len()));
    }
    match version_and_command & 0xf {
        0 => Ok(Next::Done(None)),
        1 => addresses_of_binary(family, rest).map(Next::Done),
        _ => Err(Fault::Malformed("the command is unknown")),
    }
}

fn addresses_of_binary(family: u8, rest: &[u8]) -> Result<Option<Addresses>, Fault> {
    let short = Fault::Malformed("the addresses are cut off");
    let port = |[high, low]: [u8; 2]| u16::from_be_bytes([high, low]);
    match family {
        // TCP over IPv4.
        0x11 => {
            let (addrs, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
            let ports = rest.first_chunk::<4>().ok_or(short)?;
            let [a, b, c, d, e, f, g, h] = *addrs;
            let [p, q, r, s] = *ports;
            Ok(Some(Addresses {
                source: (Ipv4Addr::new(a, b, c, d), port([p, q])).into(),
                destination: (Ipv4Addr::new(e, f, g, h), port([r, s])).into(),
            }))
        }
        // TCP over IPv6.
        0x21 => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let [p, q, r, s] = *rest.first_chunk::<4>().ok_or(short)?;
            Ok(Some(Addresses {
                source: (Ipv6Addr::from(*source), port([p, q])).into(),
                destination: (Ipv6Addr::from(*destination), port([r, s])).into(),
            }))
        }
        // Nothing that can be said of, and Unix sockets, whose callers have no address.
        0x00 | 0x31 => Ok(None),
        _ => Err(Fault::Malformed("the family is none of TCP")),
    }
}

#[cfg(test)]
mod tests;
