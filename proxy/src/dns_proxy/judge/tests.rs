use std::net::Ipv4Addr;

use config::mesh::{Mesh, MeshSettings, Viewer};
use proptest::prelude::*;

use super::*;
use crate::dns_proxy::families::Families;
use crate::dns_proxy::fuzz;

const BOTH: &str = "both.test.";
const ONLY_V6: &str = "v6.test.";
const MANY: &str = "many.default.svc.cluster.local.";

/// A host with addresses of both families, one with IPv6 alone, and a headless service with very many
/// endpoints.
fn names() -> Names {
    let entry = |name: &str, addresses: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [{name}.test], addresses: [{addresses}], resolution: STATIC, \
             ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n---\n"
        )
    };
    let endpoint = |number: u32| {
        let address = Ipv4Addr::from(0x0a01_0000 + number);
        format!("- {{addresses: [{address}]}}\n")
    };
    let many: String = (0..3_000).map(endpoint).collect();
    let yaml = entry("both", "10.0.0.1, 'fd00::1'")
        + &entry("v6", "'fd00::2'")
        + "apiVersion: v1\nkind: Service\nmetadata: {name: many}\n\
           spec: {clusterIP: None, ports: [{name: http, port: 80}]}\n---\n\
           apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
           metadata: {name: many-1, labels: {kubernetes.io/service-name: many}}\n\
           addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n"
        + &many;
    let loaded = config::load::parse("test.yaml", &yaml, "default");
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let viewer = Viewer {
        namespace: "default".to_owned(),
        ..Viewer::default()
    };
    Names::compile(&mesh, &viewer, Families::BOTH)
}

fn question(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(name, wanted));
    message
}

fn with_room(mut message: Message, bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes);
    message.set_edns(edns);
    message
}

fn by_udp(message: &Message) -> Fate {
    judge(&encode(message), &names(), Transport::Udp, 0)
}

/// The answer, and how long it is.
fn answered(fate: Fate) -> (Message, usize) {
    let Fate::Answered(reply) = fate else {
        panic!("not answered: {fate:?}");
    };
    (Message::from_vec(&reply).expect("a message"), reply.len())
}

fn refused(fate: Fate) -> Message {
    let Fate::Refused(reply) = fate else {
        panic!("not refused: {fate:?}");
    };
    Message::from_vec(&reply).expect("a message")
}

fn addresses(message: &Message) -> Vec<String> {
    let addresses = message.answers.iter().filter_map(|it| it.data.ip_addr());
    addresses.map(|address| address.to_string()).collect()
}

#[test]
fn a_name_of_the_mesh_is_answered_with_the_addresses_of_the_asked_family() {
    for (wanted, expected) in [
        (RecordType::A, &["10.0.0.1"][..]),
        (RecordType::AAAA, &["fd00::1"]),
        (RecordType::ANY, &["10.0.0.1", "fd00::1"]),
    ] {
        let (answer, _) = answered(by_udp(&question(BOTH, wanted)));

        assert_eq!(addresses(&answer), expected);
        let head = answer.metadata;
        assert_eq!(head.id, 0x1234);
        assert_eq!(head.response_code, ResponseCode::NoError);
        assert!(head.authoritative && head.recursion_available && head.recursion_desired);
        assert!(!head.truncation && answer.edns.is_none());
        assert!(answer.answers.iter().all(|it| it.ttl == TTL_SECS));
    }
}

#[test]
fn a_host_without_addresses_of_the_asked_family_exists_but_has_none() {
    for (name, wanted) in [
        (ONLY_V6, RecordType::A),
        (BOTH, RecordType::HTTPS),
        (BOTH, RecordType::SVCB),
    ] {
        let (answer, _) = answered(by_udp(&question(name, wanted)));

        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty(), "{name} {wanted}");
    }
}

#[test]
fn the_name_is_spelled_as_the_client_spelled_it() {
    let (answer, _) = answered(by_udp(&question("BoTh.tEsT.", RecordType::A)));

    for name in [answer.queries[0].name(), &answer.answers[0].name] {
        assert_eq!(name.to_ascii(), "BoTh.tEsT.");
    }
}

#[test]
fn everything_else_is_for_others_to_answer() {
    let forwarded = |bytes_max, known| Fate::Forwarded(Forwarded { bytes_max, known });

    let elsewhere = question("elsewhere.test.", RecordType::A);
    assert_eq!(by_udp(&elsewhere), forwarded(512, false));
    let large = with_room(elsewhere.clone(), 60_000);
    assert_eq!(by_udp(&large), forwarded(UDP_BYTES_MAX, false));
    let tiny = with_room(elsewhere.clone(), 10);
    assert_eq!(by_udp(&tiny), forwarded(512, false));
    let by_tcp = judge(&encode(&elsewhere), &names(), Transport::Tcp, 0);
    assert_eq!(by_tcp, forwarded(u16::MAX, false));
    // A type that we do not have, and a class that is not that of addresses.
    assert_eq!(
        by_udp(&question(BOTH, RecordType::MX)),
        forwarded(512, true)
    );
    let mut chaos = question(BOTH, RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(by_udp(&chaos), forwarded(512, false));
    // A label with a dot in it is not two.
    let dotted = Name::from_labels([&b"both.test"[..]]).expect("a label of any bytes");
    let mut odd = question(BOTH, RecordType::A);
    odd.queries[0].set_name(dotted);
    assert_eq!(by_udp(&odd), forwarded(512, false));
}

#[test]
fn what_does_not_fit_into_a_datagram_is_cut_and_said_so() {
    let plain = question(MANY, RecordType::A);

    for (asked, room) in [
        (plain.clone(), 512),
        (with_room(plain.clone(), 1_232), 1_232),
        (with_room(plain.clone(), u16::MAX), UDP_BYTES_MAX),
    ] {
        let (answer, length) = answered(by_udp(&asked));

        assert!(answer.metadata.truncation);
        assert!(length <= usize::from(room));
        assert!(length + 40 > usize::from(room), "{length} of {room}");
        assert_eq!(answer.edns.is_some(), asked.edns.is_some());
    }
    let whole = judge(&encode(&plain), &names(), Transport::Tcp, 0);
    let (answer, _) = answered(whole);
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.answers.len(), 1_024);
}

#[test]
fn endpoints_are_the_first_in_turn() {
    let asked = encode(&question(MANY, RecordType::A));
    let names = names();
    let first =
        |turn| addresses(&answered(judge(&asked, &names, Transport::Tcp, turn)).0)[0].clone();

    assert_eq!(
        [0, 1, 2, 1_024].map(first),
        ["10.1.0.0", "10.1.0.1", "10.1.0.2", "10.1.0.0"]
    );
}

#[test]
fn what_is_no_question_is_ignored() {
    let mut response = question(BOTH, RecordType::A);
    response.metadata.message_type = MessageType::Response;

    assert_eq!(by_udp(&response), Fate::Ignored);
    let mut long = encode(&question(BOTH, RecordType::A));
    long.resize(QUESTION_BYTES_MAX + 1, 0);
    for packet in [&b""[..], b"\x12\x34\x00", &[0; 11], &long] {
        assert_eq!(judge(packet, &names(), Transport::Udp, 0), Fate::Ignored);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_reason() {
    let question = || question(BOTH, RecordType::A);
    let mut update = question();
    update.metadata.op_code = OpCode::Notify;
    let mut none = question();
    none.queries.clear();
    let mut two = question();
    two.queries.push(two.queries[0].clone());
    let mut transfer = question();
    transfer.queries[0].set_query_type(RecordType::AXFR);
    let mut later = with_room(question(), 1_232);
    later.edns.as_mut().expect("set").set_version(1);

    for (asked, code) in [
        (update, ResponseCode::NotImp),
        (none, ResponseCode::FormErr),
        (two, ResponseCode::FormErr),
        (transfer, ResponseCode::Refused),
        (later, ResponseCode::BADVERS),
    ] {
        let reply = refused(by_udp(&asked));

        // Two codes have the same number.
        assert_eq!(u16::from(reply.metadata.response_code), u16::from(code));
        assert_eq!(reply.metadata.id, 0x1234);
        assert!(reply.answers.is_empty());
    }
    let mut cut = encode(&question());
    cut.truncate(20);
    let reply = refused(judge(&cut, &names(), Transport::Udp, 0));
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    assert!(reply.queries.is_empty());
}

#[test]
fn nobody_to_answer_is_a_failure_and_not_an_absence() {
    let asked = with_room(question("elsewhere.test.", RecordType::A), 1_232);

    let reply = failure(&encode(&asked)).expect("it can be answered");

    let reply = Message::from_vec(&reply).expect("a message");
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.edns.is_some());
    assert_eq!(reply.queries, asked.queries);
}

proptest! {
    #[test]
    fn any_packet_has_a_fate(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::packet(&bytes);
    }

    #[test]
    fn any_packet_that_is_nearly_a_question_has_a_fate(
        at in 0_usize..40,
        byte in any::<u8>(),
        options in any::<bool>(),
        length in 12_usize..60,
    ) {
        let asked = question("a.all.test.", RecordType::A);
        let asked = if options { with_room(asked, 1_232) } else { asked };
        let mut packet = encode(&asked);
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        packet.truncate(length);

        fuzz::packet(&packet);
    }
}
