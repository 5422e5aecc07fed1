use proptest::prelude::*;

use super::*;

fn route(position: u32) -> Arc<OpaqueRoute> {
    Arc::new(OpaqueRoute {
        origin: None,
        position,
        port: 0,
        split: Split::new(Vec::new(), None),
        carriage: Carriage::ByPolicy,
    })
}

fn rule(position: u32, names: &[&str], destinations: &[&str], sources: &[&str]) -> OpaqueRule {
    let blocks = |texts: &[&str]| {
        let blocks = texts.iter().map(|it| it.parse().expect("a network"));
        blocks.collect()
    };
    OpaqueRule {
        names: names.iter().map(|it| (*it).into()).collect(),
        destinations: blocks(destinations),
        sources: blocks(sources),
        route: route(position),
    }
}

fn view<'c>(server_name: Option<&'c str>, to: &str, from: &str) -> ConnectionView<'c> {
    ConnectionView {
        server_name,
        destination: to.parse().ok(),
        source: from.parse().ok(),
    }
}

fn found(routes: &OpaqueRoutes, view: ConnectionView<'_>) -> Option<u32> {
    routes.find(view).map(|route| route.position)
}

#[test]
fn the_most_specific_name_counts_whatever_the_order() {
    let routes = OpaqueRoutes::new(&[
        rule(0, &["*"], &[], &[]),
        rule(1, &["*.test"], &[], &[]),
        rule(2, &["*.B.test", "c.test"], &[], &[]),
        rule(3, &["a.b.test"], &[], &[]),
        rule(4, &["a.b.test"], &[], &[]),
        rule(5, &[], &[], &[]),
    ]);

    for (name, expected) in [
        (Some("a.b.test"), Some(3)),
        (Some("x.b.test"), Some(2)),
        (Some("C.test"), Some(2)),
        (Some("d.test"), Some(1)),
        (Some("other"), Some(0)),
        (Some(""), Some(0)),
        (None, Some(5)),
    ] {
        assert_eq!(
            found(&routes, view(name, "1.1.1.1", "")),
            expected,
            "{name:?}"
        );
    }
}

#[test]
fn the_longest_network_counts_before_names_and_order() {
    let routes = OpaqueRoutes::new(&[
        rule(0, &["a.test"], &[], &[]),
        rule(1, &[], &["10.0.0.0/8"], &["10.9.0.0/16"]),
        rule(2, &[], &["10.0.0.0/8", "2001:db8::/32"], &[]),
        rule(3, &["a.test"], &["10.1.0.0/16"], &[]),
    ]);

    for (view, expected) in [
        (view(Some("a.test"), "1.1.1.1", "1.1.1.1"), Some(0)),
        (view(Some("a.test"), "10.1.0.1", "1.1.1.1"), Some(3)),
        (view(Some("b.test"), "10.1.0.1", "1.1.1.1"), Some(2)),
        (view(Some("a.test"), "10.2.0.1", "1.1.1.1"), Some(2)),
        (view(None, "10.0.0.1", "10.9.1.1"), Some(1)),
        (view(None, "10.0.0.1", "10.8.1.1"), Some(2)),
        (view(None, "2001:db8::1", "10.8.1.1"), Some(2)),
        (view(None, "11.0.0.1", "10.9.1.1"), None),
        (view(None, "", ""), None),
    ] {
        assert_eq!(found(&routes, view), expected, "{view:?}");
    }
}

#[test]
fn the_way_is_known_before_a_word_where_no_name_can_change_it() {
    let routes = OpaqueRoutes::new(&[
        rule(0, &[], &["10.0.0.0/8"], &[]),
        rule(1, &["a.test"], &[], &[]),
        rule(2, &[], &[], &[]),
    ]);

    let known = |to| {
        let known = routes.before_it_speaks(view(None, to, ""));
        known.map(|it| it.position)
    };
    assert_eq!(known("10.0.0.1"), Some(0));
    assert_eq!(known("11.0.0.1"), None, "a name may come");
    assert!(routes.ask_for_names());
    assert!(OpaqueRoutes::default().find(view(None, "", "")).is_none());
    assert!(OpaqueRoutes::default().is_empty());
}

#[test]
fn what_an_earlier_rule_takes_is_not_kept_twice() {
    let routes = OpaqueRoutes::new(&[
        rule(0, &[], &[], &["10.0.0.0/8"]),
        rule(1, &[], &[], &[]),
        rule(2, &[], &[], &[]),
    ]);

    let told: Vec<u32> = routes.iter().map(|it| it.route.position).collect();
    assert_eq!(told, [0, 1]);
}

proptest! {
    /// What is said before a word is what becomes of the connection, whatever it says.
    #[test]
    fn what_is_known_early_stays_true(
        rules in proptest::collection::vec(
            (
                proptest::collection::vec(prop_oneof!["a", "b", "[*][.]a", "[*]"], 0..2),
                proptest::collection::vec(0_u8..4, 0..2),
                8_u32..=24,
                proptest::collection::vec(0_u8..4, 0..2),
            ),
            0..6,
        ),
        to in 0_u8..4,
        from in 0_u8..4,
        name in proptest::option::of(prop_oneof!["a", "b", "x[.]a", ""]),
    ) {
        let block = |byte: u8, bits: u32| format!("10.{byte}.0.0/{bits}").parse().expect("a network");
        let rules: Vec<OpaqueRule> = (0_u32..)
            .zip(rules)
            .map(|(position, (names, destinations, bits, sources))| OpaqueRule {
                names: names.into_iter().map(String::into_boxed_str).collect(),
                destinations: destinations.into_iter().map(|it| block(it, bits)).collect(),
                sources: sources.into_iter().map(|it| block(it, 16)).collect(),
                route: route(position),
            })
            .collect();
        let routes = OpaqueRoutes::new(&rules);
        let (to, from) = (format!("10.{to}.0.1"), format!("10.{from}.0.1"));
        let silent = view(None, &to, &from);

        if let Some(early) = routes.before_it_speaks(silent) {
            let later = routes.find(ConnectionView { server_name: name.as_deref(), ..silent });
            prop_assert!(later.is_some_and(|later| Arc::ptr_eq(early, later)));
        }
    }
}
