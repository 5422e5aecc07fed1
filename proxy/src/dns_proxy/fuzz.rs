//! Packets of strangers, as questions and as answers of name servers.

use std::sync::OnceLock;

use config::mesh::{Mesh, MeshSettings, Viewer};
use hickory_resolver::proto::op::{Message, MessageType};

use super::families::Families;
use super::judge::{Fate, Transport, judge};
use super::names::Names;
use super::wire;

/// Names of each kind.
const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.test]
  resolution: DNS
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: ['*.all.test']
  addresses: [10.0.0.1, 'fd00::1']
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
";

/// Made once: fuzzers try thousands of packets a second.
static NAMES: OnceLock<Names> = OnceLock::new();

/// Takes bytes as a packet. What is answered is an answer to what was asked, and no longer than it may
/// be; what is refused gets no more bytes than it has.
pub(crate) fn packet(bytes: &[u8]) {
    let names = NAMES.get_or_init(names);
    for transport in [Transport::Udp, Transport::Tcp] {
        match judge(bytes, names, transport, 0) {
            Fate::Ignored => {}
            Fate::Refused(reply) => {
                assert!(reply.len() <= bytes.len(), "more than came");
                check(&reply, bytes);
            }
            Fate::Answered(reply) => {
                assert!(transport == Transport::Tcp || reply.len() <= 4_096);
                let read = check(&reply, bytes);
                let asked = Message::from_vec(bytes).expect("it was read before");
                let same_case = read.queries[0].name().eq_case(asked.queries[0].name());
                assert!(same_case, "another spelling");
            }
            Fate::Forwarded(forwarded) => {
                assert!(forwarded.bytes_max >= 512);
                // The bytes as an answer of a server, to themselves as the question.
                assert!(!wire::answers(bytes, bytes), "a question answers itself");
                assert!(wire::cut(bytes).len() <= bytes.len(), "cut to more");
                let mut reply = bytes.to_vec();
                wire::forgive_unknown_name(&mut reply);
                let _ = wire::is_failure(&reply);
            }
        }
    }
}

fn names() -> Names {
    let loaded = config::load::parse("fuzz.yaml", MESH, "default");
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let viewer = Viewer {
        namespace: "default".to_owned(),
        ..Viewer::default()
    };
    Names::compile(&mesh, &viewer, Families::BOTH)
}

fn check(reply: &[u8], asked: &[u8]) -> Message {
    assert_eq!(reply.get(..2), asked.get(..2), "another id");
    let read = Message::from_vec(reply).expect("ours can be read");
    assert_eq!(read.metadata.message_type, MessageType::Response);
    read
}
