//! What becomes of connections that came before their listener changed.

use std::net::Ipv4Addr;

use config::spiffe::SpiffeId;

use super::*;
use crate::tls::clients::{Authorities, Demands, Leniency, Presence};

fn listener(direction: Direction, transport: Transport) -> Listener {
    Listener {
        bind: Bind::Tcp((Ipv4Addr::LOCALHOST, 8_443).into()),
        name: "test".to_owned(),
        direction,
        port_rule: PortRule::Listener(8_443),
        unknown_host: UnknownHost::NotFound,
        hosts: HostTable::default(),
        transport,
        speaks: Speaks::Http,
        opaque: OpaqueRoutes::default(),
        captured: None,
        admission: None,
    }
}

/// A client that proved to be a workload, to a gateway by authorities of its own or to a workload.
fn proved(to_gateway: bool) -> Security {
    let demands = || Demands {
        presence: Presence::Required,
        authorities: Authorities::File("/partners.pem".to_owned()),
        revoked: None,
        names: Vec::new(),
        keys: Vec::new(),
        certificates: Vec::new(),
        leniency: Leniency::Refused,
    };
    let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/cart");
    Security {
        principal: Some(id.expect("an identity")),
        met: to_gateway.then(|| Arc::new(demands())),
        ..Security::unproved("".into())
    }
}

#[test]
fn what_was_proved_to_a_gateway_is_no_proof_at_a_port_that_became_the_workloads() {
    let (to_gateway, to_workload) = (proved(true), proved(false));
    let strict = listener(Direction::Inbound, Transport::Strict(None));

    assert!(strict.demands_more_than(None));
    assert!(strict.demands_more_than(Some(&to_gateway)));
    assert!(!strict.demands_more_than(Some(&to_workload)));
    // Where plain text would do nobody has to prove anything, but what was is not believed either.
    let plain = listener(Direction::Inbound, Transport::Plain);
    for port in [&strict, &plain] {
        assert!(!port.admits(Some(&to_gateway)));
        assert!(port.admits(Some(&to_workload)));
        assert!(port.admits(None));
    }
}
