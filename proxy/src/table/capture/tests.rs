use super::*;

use crate::table::host::HostTable;
use crate::table::opaque::OpaqueRoutes;
use crate::table::{Bind, Direction, PortRule, Speaks, Transport, UnknownHost};

fn named(name: &str) -> Arc<Listener> {
    Arc::new(Listener {
        bind: Bind::Tcp(([0, 0, 0, 0], 0).into()),
        name: name.to_owned(),
        direction: Direction::Outbound,
        port_rule: PortRule::Authority,
        unknown_host: UnknownHost::NotFound,
        hosts: HostTable::default(),
        transport: Transport::Plain,
        speaks: Speaks::Unknown,
        opaque: OpaqueRoutes::default(),
        captured: None,
        admission: None,
    })
}

#[test]
fn an_address_is_preferred_to_a_network_and_that_to_a_port() {
    let network = |text: &str, name: &str| Network {
        block: text.parse().expect("a network"),
        listener: named(name),
    };
    let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let captured = Captured {
        exact: [(addr("10.1.0.1:80"), named("exact"))]
            .into_iter()
            .collect(),
        networks: [
            (
                80,
                [
                    network("10.1.0.0/16", "near"),
                    network("10.0.0.0/8", "wide"),
                ]
                .into(),
            ),
            (443, [network("2001:db8::/32", "six")].into()),
        ]
        .into_iter()
        .collect(),
        ports: [(80, named("port"))].into_iter().collect(),
        rest: named("rest"),
    };

    for (to, expected) in [
        ("10.1.0.1:80", "exact"),
        ("[::ffff:10.1.0.1]:80", "exact"),
        ("10.1.0.1:81", "rest"),
        ("10.1.0.2:80", "near"),
        ("10.2.0.1:80", "wide"),
        ("11.0.0.1:80", "port"),
        ("[2001:db8::1]:443", "six"),
        ("[2001:db8::1]:80", "port"),
        ("[2001:db9::1]:443", "rest"),
    ] {
        assert_eq!(captured.find(addr(to)).name, expected, "{to}");
    }
    assert_eq!(captured.iter().count(), 6);
}
