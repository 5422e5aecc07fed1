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
    let mut table = HostTable::default();
    for name in names {
        table.insert(name, &Arc::new(()));
    }
    OpaqueRule {
        names: (!names.is_empty()).then_some(table),
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

#[test]
fn the_first_rule_that_a_connection_meets_counts() {
    let routes = OpaqueRoutes {
        rules: [
            rule(0, &["a.test", "*.b.test"], &[], &[]),
            rule(1, &[], &["10.0.0.0/8"], &["10.9.0.0/16"]),
            rule(2, &[], &["10.0.0.0/8"], &[]),
        ]
        .into(),
    };

    for (view, expected) in [
        (view(Some("a.test"), "1.1.1.1", "1.1.1.1"), Some(0)),
        (view(Some("x.b.test"), "10.0.0.1", "1.1.1.1"), Some(0)),
        (view(Some("c.test"), "10.0.0.1", "10.9.1.1"), Some(1)),
        (view(None, "10.0.0.1", "10.9.1.1"), Some(1)),
        (view(None, "10.0.0.1", "10.8.1.1"), Some(2)),
        (view(None, "11.0.0.1", "10.9.1.1"), None),
        (view(None, "", ""), None),
    ] {
        let found = routes.find(view).map(|route| route.position);
        assert_eq!(found, expected, "{view:?}");
        assert!(routes.before_it_speaks(view).is_none(), "a name may come");
    }
}

#[test]
fn without_names_the_way_is_known_before_a_word() {
    let routes = OpaqueRoutes {
        rules: [rule(0, &[], &["10.0.0.0/8"], &[]), rule(1, &[], &[], &[])].into(),
    };

    let known = |to| {
        routes
            .before_it_speaks(view(None, to, ""))
            .map(|it| it.position)
    };
    assert_eq!(known("10.0.0.1"), Some(0));
    assert_eq!(known("11.0.0.1"), Some(1));
    assert!(OpaqueRoutes::default().find(view(None, "", "")).is_none());
}
