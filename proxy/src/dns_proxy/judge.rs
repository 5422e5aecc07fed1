//! What becomes of a packet: a pure function of its bytes and the names of the mesh.
//!
//! A packet that is no question gets no answer at all, or a short one: never more bytes than came, so
//! that whoever forges where it is from gains nothing.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::Range;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinEncodable as _, BinEncoder};

use super::names::{Addresses, Names, Source};

/// Largest question that is looked at, in bytes. A question has 12 bytes before and 4 behind a name of
/// 255; the rest is room for options.
pub(crate) const QUESTION_BYTES_MAX: usize = 4_096;
/// Largest answer by UDP, in bytes, whatever a client says that it takes.
const UDP_BYTES_MAX: u16 = 4_096;
/// Largest answer by UDP to a client that does not say what it takes (RFC 1035 §2.3.4).
const UDP_BYTES_DEFAULT: u16 = 512;
/// How long an answer may be remembered, in seconds: a change of the mesh is known as soon.
const TTL_SECS: u32 = 30;
/// Bytes before the question.
const HEADER_BYTES: usize = 12;
/// Where a header says how many records the answer has.
const ANSWER_COUNT: Range<usize> = 6..8;
/// Bytes of the record by which EDNS says what we can do.
const EDNS_BYTES: u16 = 11;
/// The version of EDNS that there is (RFC 6891 §6.1.3).
const EDNS_VERSION: u8 = 0;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is no question, and gets no answer.
    Ignored,
    /// It gets this answer, which says what is wrong with it.
    Refused(Vec<u8>),
    /// The mesh knows the answer.
    Answered(Vec<u8>),
    /// Others are to be asked.
    Forwarded(Forwarded),
}

/// A question that others are to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// Largest answer that the client takes, in bytes.
    pub(crate) bytes_max: u16,
    /// Whether the name is one of the mesh, of which another type is asked: that others do not know
    /// it does not mean that there is no such name.
    pub(crate) known: bool,
}

/// Judges a packet. `turn` says with which of several addresses an answer begins.
pub(crate) fn judge(packet: &[u8], names: &Names, transport: Transport, turn: usize) -> Fate {
    let is_in_bounds = (HEADER_BYTES..=QUESTION_BYTES_MAX).contains(&packet.len());
    if !is_in_bounds || is_response(packet) {
        return Fate::Ignored;
    }
    let Ok(asked) = Message::from_vec(packet) else {
        return malformed(packet);
    };
    let refuse = |code| Fate::Refused(encode(&reply(&asked, code)));
    if asked.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = asked.queries.as_slice() else {
        return refuse(ResponseCode::FormErr);
    };
    if asked.version() > EDNS_VERSION {
        return refuse(ResponseCode::BADVERS);
    }
    if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    let bytes_max = bytes_max(&asked, transport);
    let found = match query.query_class() {
        DNSClass::IN => text(query.name()).and_then(|name| names.find(&name)),
        _ => None,
    };
    let is_ours = is_answered(query.query_type());
    match found {
        Some(addresses) if is_ours => {
            let records = records(query, addresses, turn);
            Fate::Answered(answer(&asked, records, bytes_max, transport))
        }
        Some(_) | None => Fate::Forwarded(Forwarded {
            bytes_max,
            known: found.is_some(),
        }),
    }
}

/// The name that a packet asks for, if it is of the kind that we answer names of the mesh.
pub(crate) fn name_asked(packet: &[u8]) -> Option<String> {
    let asked = Message::from_vec(packet).ok()?;
    let query = asked.queries.first()?;
    let is_ours = query.query_class() == DNSClass::IN && is_answered(query.query_type());
    text(query.name()).filter(|_| is_ours)
}

/// What is answered to a question that nobody has an answer for.
pub(crate) fn failure(packet: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(packet).ok()?;
    Some(encode(&reply(&asked, ResponseCode::ServFail)))
}

/// Whether it is we who answer questions of this type about names of the mesh. Records of services
/// (RFC 9460) may hold other addresses than those by which the mesh knows the host, so that there are
/// none of them.
fn is_answered(wanted: RecordType) -> bool {
    matches!(
        wanted,
        RecordType::A | RecordType::AAAA | RecordType::ANY | RecordType::HTTPS | RecordType::SVCB
    )
}

fn is_response(packet: &[u8]) -> bool {
    packet.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// The answer to what cannot be read: its header alone, with nothing behind it.
fn malformed(packet: &[u8]) -> Fate {
    let (Some([high, low]), Some(flags)) = (packet.first_chunk(), packet.get(2)) else {
        return Fate::Ignored;
    };
    let op_code = OpCode::from_u8(flags >> 3 & 0x0f);
    let id = u16::from_be_bytes([*high, *low]);
    Fate::Refused(encode(&Message::error_msg(
        id,
        op_code,
        ResponseCode::FormErr,
    )))
}

/// Largest answer that a client takes.
fn bytes_max(asked: &Message, transport: Transport) -> u16 {
    match (transport, &asked.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => UDP_BYTES_DEFAULT,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_BYTES_DEFAULT, UDP_BYTES_MAX),
    }
}

/// A name in lower case, without a dot at its end. None for one that no host of the mesh can have:
/// labels may hold any bytes, dots included.
fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            if *byte == b'.' || !byte.is_ascii_graphic() {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    Some(text)
}

/// The records of the asked type, under the name as it was asked for: some clients vary its case and
/// believe only who keeps it.
fn records(query: &Query, addresses: &Addresses, turn: usize) -> Vec<Record> {
    let wanted = query.query_type();
    let v4 = matches!(wanted, RecordType::A | RecordType::ANY);
    let v6 = matches!(wanted, RecordType::AAAA | RecordType::ANY);
    let v4 = addresses.v4.iter().filter(|_| v4).copied().map(IpAddr::V4);
    let v6 = addresses.v6.iter().filter(|_| v6).copied().map(IpAddr::V6);
    let record = |address| {
        let name = query.name().clone();
        Record::from_rdata(name, TTL_SECS, RData::from(address))
    };
    let mut records: Vec<Record> = v4.chain(v6).map(record).collect();
    // Many clients take the first: each endpoint is to be it in its turn.
    if addresses.source == Source::Endpoints && !records.is_empty() {
        let first = turn % records.len();
        records.rotate_left(first);
    }
    records
}

/// An answer with as many of the records as fit.
fn answer(
    asked: &Message,
    mut records: Vec<Record>,
    bytes_max: u16,
    transport: Transport,
) -> Vec<u8> {
    let mut answer = reply(asked, ResponseCode::NoError);
    answer.metadata.authoritative = true;
    answer.answers.append(&mut records);
    let encoded = encode(&answer);
    if encoded.len() <= usize::from(bytes_max) {
        return encoded;
    }
    let fitting = fitting(&answer, bytes_max);
    answer.answers.truncate(fitting);
    // What is too long for a connection cannot be asked for in a better way.
    answer.metadata.truncation = transport == Transport::Udp;
    encode(&answer)
}

/// How many records of an answer have room in so many bytes, beside what says what we can do. The
/// library leaves out what does not fit.
fn fitting(answer: &Message, bytes_max: u16) -> usize {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(bytes_max - EDNS_BYTES);
    let mut bare = answer.clone();
    bare.edns = None;
    if bare.emit(&mut encoder).is_err() {
        return 0;
    }
    match bytes.get(ANSWER_COUNT) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]).into(),
        Some(_) | None => 0,
    }
}

/// The beginning of an answer: the question as it was, and what we can do.
fn reply(asked: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::error_msg(asked.metadata.id, asked.metadata.op_code, code);
    reply.metadata.recursion_desired = asked.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(asked.queries.iter().take(1).cloned());
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        edns.set_version(EDNS_VERSION);
        reply.set_edns(edns);
    }
    debug_assert_eq!(reply.metadata.message_type, MessageType::Response);
    reply
}

/// The bytes of a message. One of ours can be encoded; if not, none is sent.
fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}
