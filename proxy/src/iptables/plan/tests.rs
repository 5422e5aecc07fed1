//! What becomes of connections by the rules of a plan.

mod walk;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bootstrap::{Dns, OWN_PORTS, Selection};
use walk::{Connection, Fate, fate};

const POD: &str = "10.1.2.3";
const POD_V6: &str = "fd00::3";
const OTHER: &str = "10.4.5.6";
const OTHER_V6: &str = "fd00::6";

pub(in crate::iptables) fn everything() -> Capture {
    Capture {
        outbound_port: 15_001,
        inbound_port: 15_006,
        users: vec![1_337],
        groups: vec![1_337],
        networks: Selection::All,
        networks_except: vec![],
        outbound_ports: vec![],
        outbound_ports_except: vec![],
        inbound_ports: Selection::All,
        inbound_ports_except: vec![],
        callers: vec![],
        callers_except: vec![],
        machines: vec![],
        interfaces_except: vec![],
        dns: Dns::Untouched,
        drop_invalid: false,
    }
}

/// Every kind of rule at once.
pub(in crate::iptables) fn something_of_each() -> Capture {
    Capture {
        networks: Selection::Only(vec![
            block("10.0.0.0/8"),
            block("fd00::/8"),
            block("127.1.0.0/16"),
        ]),
        networks_except: vec![block("10.9.0.0/16")],
        outbound_ports: vec![5_432],
        outbound_ports_except: vec![25],
        inbound_ports_except: vec![9_000],
        callers_except: vec![42],
        machines: vec![interface("vnet0")],
        interfaces_except: vec![interface("net+")],
        dns: Dns::Servers,
        drop_invalid: true,
        ..everything()
    }
}

pub(in crate::iptables) fn servers() -> Vec<IpAddr> {
    ["10.0.0.53", "fd00::53"].map(addr).into()
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn block(text: &str) -> IpBlock {
    text.parse().expect("a network")
}

fn interface(text: &str) -> Interface {
    text.parse().expect("a name")
}

/// What becomes of a connection of the workload.
fn sent(capture: &Capture, to: &str, port: u16) -> Fate {
    fate(capture, &Connection::sent(1_000, addr(to), port))
}

/// What becomes of a connection of the proxy.
fn sent_by_proxy(capture: &Capture, to: &str, port: u16) -> Fate {
    fate(capture, &Connection::sent(1_337, addr(to), port))
}

fn arrives(capture: &Capture, port: u16) -> Fate {
    fate(capture, &Connection::arrives("eth0", addr(POD), port))
}

#[test]
fn what_the_workload_sends_is_captured_and_what_the_proxy_sends_is_not() {
    let all = everything();

    for other in [OTHER, OTHER_V6] {
        assert_eq!(sent(&all, other, 80), Fate::Redirected(15_001));
        assert_eq!(sent_by_proxy(&all, other, 80), Fate::Untouched);
        let mut by_group = Connection::sent(1_000, addr(other), 80);
        by_group.group = 1_337;
        assert_eq!(fate(&all, &by_group), Fate::Untouched);
    }
    let udp = Connection::sent(1_000, addr(OTHER), 80).udp();
    assert_eq!(fate(&all, &udp), Fate::Untouched);
}

#[test]
fn what_arrives_is_captured_but_for_the_ports_of_the_sidecar() {
    let all = everything();

    assert_eq!(arrives(&all, 8_080), Fate::Redirected(15_006));
    assert_eq!(arrives(&all, 15_000), Fate::Redirected(15_006));
    for own in OWN_PORTS {
        assert_eq!(arrives(&all, own), Fate::Untouched, "{own}");
    }
}

#[test]
fn a_workload_that_calls_itself_by_its_service_is_called_by_its_proxy() {
    let all = everything();

    for pod in [POD, POD_V6] {
        // By its own address it is not captured at all.
        let direct = Connection::sent(1_000, addr(pod), 8_080).here();
        assert_eq!(fate(&all, &direct), Fate::Untouched);
        // By its service it is: the proxy then sends it to the own address.
        let again = Connection::sent(1_337, addr(pod), 8_080).here();
        assert_eq!(fate(&all, &again), Fate::Redirected(15_006));
        let health = Connection::sent(1_337, addr(pod), 15_021).here();
        assert_eq!(fate(&all, &health), Fate::Untouched);
        // And from there to the program.
        let source = if pod == POD { "127.0.0.6" } else { "::6" };
        let mut last = Connection::sent(1_337, addr(pod), 8_080).here();
        last.source = addr(source);
        assert_eq!(fate(&all, &last), Fate::Untouched);
    }
}

#[test]
fn loopback_is_left_alone_unless_it_is_named() {
    let named = something_of_each();

    for loopback in ["127.0.0.1", "127.1.2.3", "::1"] {
        for user in [1_000, 1_337] {
            let inside = Connection::sent(user, addr(loopback), 80).here();
            assert_eq!(fate(&everything(), &inside), Fate::Untouched, "{loopback}");
        }
    }
    let inside = |user, to| fate(&named, &Connection::sent(user, addr(to), 80).here());
    assert_eq!(inside(1_000, "127.1.2.3"), Fate::Redirected(15_001));
    assert_eq!(inside(1_337, "127.1.2.3"), Fate::Untouched);
    assert_eq!(inside(1_000, "127.0.0.1"), Fate::Untouched);
}

#[test]
fn networks_and_ports_decide_what_of_the_outbound_is_captured() {
    let some = something_of_each();

    for (to, port, expected) in [
        (OTHER, 80, Fate::Redirected(15_001)),
        (OTHER_V6, 80, Fate::Redirected(15_001)),
        (OTHER, 25, Fate::Untouched),
        ("10.9.1.1", 80, Fate::Untouched),
        ("10.9.1.1", 5_432, Fate::Untouched),
        ("8.8.8.8", 80, Fate::Untouched),
        ("8.8.8.8", 5_432, Fate::Redirected(15_001)),
        ("2001:db8::1", 80, Fate::Untouched),
    ] {
        assert_eq!(sent(&some, to, port), expected, "{to}:{port}");
    }
    let mut other_group = Connection::sent(1_000, addr(OTHER), 80);
    other_group.group = 42;
    assert_eq!(fate(&some, &other_group), Fate::Untouched);
}

#[test]
fn with_groups_of_callers_only_their_programs_are_captured() {
    let some = Capture {
        callers: vec![7, 8],
        ..everything()
    };

    for (group, expected) in [
        (7, Fate::Redirected(15_001)),
        (8, Fate::Redirected(15_001)),
        (9, Fate::Untouched),
    ] {
        let mut connection = Connection::sent(1_000, addr(OTHER), 80);
        connection.group = group;
        assert_eq!(fate(&some, &connection), expected, "{group}");
    }
}

#[test]
fn interfaces_are_left_alone_or_are_virtual_machines() {
    let some = something_of_each();
    let arrives =
        |interface: &str, to, port| fate(&some, &Connection::arrives(interface, addr(to), port));

    assert_eq!(arrives("net1", POD, 80), Fate::Untouched);
    assert_eq!(arrives("vnet0", OTHER, 80), Fate::Redirected(15_001));
    assert_eq!(arrives("vnet0", OTHER, 25), Fate::Untouched);
    assert_eq!(arrives("vnet0", "8.8.8.8", 80), Fate::Untouched);
    assert_eq!(arrives("vnet1", OTHER, 80), Fate::Redirected(15_006));
    let mut leaves = Connection::sent(1_000, addr(OTHER), 80);
    leaves.leaves_by = Some("net7".to_owned());
    assert_eq!(fate(&some, &leaves), Fate::Untouched);
}

#[test]
fn questions_of_names_go_to_the_proxy_and_its_own_go_on() {
    let some = something_of_each();
    let all = Capture {
        dns: Dns::All,
        ..everything()
    };

    for server in ["10.0.0.53", "fd00::53"] {
        for capture in [&some, &all] {
            let question = Connection::sent(1_000, addr(server), 53);
            assert_eq!(fate(capture, &question), Fate::Redirected(15_053));
            assert_eq!(fate(capture, &question.udp()), Fate::Redirected(15_053));
            // A server on this host as well.
            let here = Connection::sent(1_000, addr(server), 53).here();
            assert_eq!(fate(capture, &here), Fate::Redirected(15_053));
            for question in [
                Connection::sent(1_337, addr(server), 53),
                Connection::sent(1_337, addr(server), 53).udp(),
                Connection::sent(1_337, addr(server), 53).here(),
            ] {
                assert_eq!(fate(capture, &question), Fate::Untouched);
            }
        }
    }
    let elsewhere = Connection::sent(1_000, addr("8.8.8.8"), 53).udp();
    assert_eq!(fate(&some, &elsewhere), Fate::Untouched);
    assert_eq!(fate(&all, &elsewhere), Fate::Redirected(15_053));
}

#[test]
fn who_captures_nothing_has_no_chains_that_decide() {
    let nothing = Capture {
        networks: Selection::Only(vec![]),
        networks_except: vec![block("10.0.0.0/8")],
        inbound_ports: Selection::Only(vec![]),
        ..everything()
    };

    let plan = Plan::new(&nothing, &[]);

    let names: Vec<ChainName> = plan.chains.iter().map(|chain| chain.name).collect();
    assert_eq!(names, [ChainName::Leaving]);
    assert_eq!(sent(&nothing, OTHER, 80), Fate::Untouched);
    assert_eq!(arrives(&nothing, 80), Fate::Untouched);
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(53), Just(80), Just(15_021), Just(15_053), 1..=u16::MAX]
}

fn network() -> impl Strategy<Value = IpBlock> {
    let texts = [
        "10.0.0.0/8",
        "10.4.0.0/16",
        "10.4.5.6",
        "127.0.0.0/8",
        "0.0.0.0/0",
        "fd00::/8",
    ];
    prop::sample::select(texts.to_vec()).prop_map(block)
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1_337), Just(1_000), any::<u32>()]
}

prop_compose! {
    fn any_capture()(
        users in vec(id(), 1..3),
        groups in vec(id(), 0..3),
        networks in prop_oneof![
            Just(Selection::All),
            vec(network(), 0..3).prop_map(Selection::Only),
        ],
        networks_except in vec(network(), 0..2),
        outbound_ports in vec(port(), 0..3),
        outbound_ports_except in vec(port(), 0..3),
        inbound_ports in prop_oneof![
            Just(Selection::All),
            vec(port(), 0..3).prop_map(Selection::Only),
        ],
        inbound_ports_except in vec(port(), 0..3),
        callers_except in vec(id(), 0..2),
        machines in prop::sample::subsequence(vec!["vnet0", "vnet1"], 0..2),
        dns in prop::sample::select(vec![Dns::Untouched, Dns::Servers, Dns::All]),
        drop_invalid in any::<bool>(),
    ) -> Capture {
        Capture {
            users,
            groups,
            networks,
            networks_except,
            outbound_ports,
            outbound_ports_except,
            inbound_ports,
            inbound_ports_except,
            callers_except,
            machines: machines.into_iter().map(interface).collect(),
            dns,
            drop_invalid,
            ..everything()
        }
    }
}

prop_compose! {
    fn any_connection()(
        user in id(),
        group in id(),
        to in prop::sample::select(vec![OTHER, OTHER_V6, POD, "127.0.0.1", "8.8.8.8", "10.0.0.53"]),
        port in port(),
        udp in any::<bool>(),
        here in any::<bool>(),
    ) -> Connection {
        let mut connection = Connection::sent(user, addr(to), port);
        connection.group = group;
        connection = if udp { connection.udp() } else { connection };
        if here { connection.here() } else { connection }
    }
}

proptest! {
    #[test]
    fn nothing_of_the_proxy_ever_comes_back_to_where_it_came_from(
        capture in any_capture(),
        connection in any_connection(),
    ) {
        let of_proxy = capture.users.contains(&connection.user)
            || capture.groups.contains(&connection.group);
        prop_assume!(of_proxy);

        let fate = fate(&capture, &connection);

        // To an own address it may meet the workload's policies, nothing else.
        prop_assert_ne!(fate, Fate::Redirected(15_001));
        prop_assert_ne!(fate, Fate::Redirected(15_053));
        if !connection.is_here() {
            prop_assert_eq!(fate, Fate::Untouched);
        }
    }

    #[test]
    fn what_is_excluded_is_never_captured(
        capture in any_capture(),
        connection in any_connection(),
    ) {
        let excluded = capture.outbound_ports_except.contains(&connection.port)
            || connection.port != 53
                && capture.networks_except.iter().any(|it| it.contains(connection.to))
                && !connection.to.is_loopback()
                && !connection.is_here()
            || capture.callers_except.contains(&connection.group) && !connection.is_here();
        prop_assume!(excluded);

        prop_assert_eq!(fate(&capture, &connection), Fate::Untouched);
    }

    #[test]
    fn what_arrives_is_captured_exactly_at_the_ports_that_are_named(
        capture in any_capture(),
        port in port(),
    ) {
        let named = match &capture.inbound_ports {
            Selection::All => true,
            Selection::Only(ports) => ports.contains(&port),
        };
        let excluded = OWN_PORTS.contains(&port) || capture.inbound_ports_except.contains(&port);

        let expected = match named && !excluded {
            true => Fate::Redirected(15_006),
            false => Fate::Untouched,
        };
        prop_assert_eq!(arrives(&capture, port), expected);
    }

    #[test]
    fn every_jump_leads_to_a_chain_of_the_same_table(capture in any_capture()) {
        let plan = Plan::new(&capture, &servers());

        for chain in &plan.chains {
            prop_assert!(!chain.rules.is_empty());
            for rule in &chain.rules {
                if let Verdict::Jump(to) = rule.verdict {
                    prop_assert!(plan.chains.iter().any(|it| it.name == to));
                    prop_assert_eq!(to.table(), chain.name.table());
                    prop_assert_eq!(to.hook(), None);
                }
            }
        }
    }
}
