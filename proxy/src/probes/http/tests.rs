use super::*;

fn target(https: bool, port: u16, path: &str) -> Target {
    Target {
        https,
        port,
        path: path.parse().expect("a path"),
        as_declared: true,
    }
}

#[test]
fn redirects_lead_to_the_same_host_and_nowhere_else() {
    let from = target(false, 8080, "/a/b?c");
    let elsewhere = |https, port, path| {
        let target = target(https, port, path);
        Some(Target {
            as_declared: false,
            ..target
        })
    };
    for (location, expected) in [
        ("/login", Some(target(false, 8080, "/login"))),
        ("login?x", Some(target(false, 8080, "/a/login?x"))),
        ("?d", Some(target(false, 8080, "/a/b?d"))),
        ("", Some(target(false, 8080, "/a/b?c"))),
        ("/x#y", Some(target(false, 8080, "/x"))),
        (
            "/at?time=10:30",
            Some(target(false, 8080, "/at?time=10:30")),
        ),
        ("http://10.0.0.1:9090/x", elsewhere(false, 9090, "/x")),
        ("http://10.0.0.1", elsewhere(false, 80, "/")),
        ("https://10.0.0.1/x", elsewhere(true, 443, "/x")),
        ("//10.0.0.1:1/x", elsewhere(false, 1, "/x")),
        ("http://user@10.0.0.1:1/x", elsewhere(false, 1, "/x")),
        ("http://10.0.0.2:9090/x", None),
        ("http://10.0.0.1.evil.test/", None),
        ("http://10.0.0.1@evil.test/", None),
        ("//evil.test/", None),
        ("ftp://10.0.0.1/", None),
        ("javascript:alert(1)", None),
        ("http://", None),
        ("/a b", None),
    ] {
        assert_eq!(
            from.redirected(location, "10.0.0.1"),
            expected,
            "{location}"
        );
    }
}

#[test]
fn the_request_is_that_of_kubelet() {
    let declared = HttpGet {
        port: 8080,
        https: false,
        path: "/ready".parse().expect("a path"),
        host: None,
        headers: [
            "x-a: 1",
            "x-a: 2",
            "content-length: 9",
            "connection: keep-alive",
        ]
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| {
            let name = name.parse().expect("a name");
            (name, HeaderValue::from_static(value))
        })
        .into(),
    };
    let agent = HeaderValue::from_static("kube-probe/1.33");
    let asker = Asker {
        asked_at: [10, 0, 0, 1].into(),
        agent: Some(&agent),
    };
    let application = Application {
        own: asker.asked_at,
    };

    let request = request(
        &declared,
        &target(false, 8080, "/ready"),
        application,
        asker,
    );

    let request = request.expect("a request");
    assert_eq!(request.uri(), "/ready");
    let mut lines: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept: */*",
            "connection: close",
            "host: 10.0.0.1:8080",
            "user-agent: kube-probe/1.33",
            "x-a: 1",
            "x-a: 2",
        ]
    );
}
