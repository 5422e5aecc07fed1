use super::*;

fn parse(text: &str) -> Result<AppProbes, String> {
    text.parse()
}

/// What was declared of one probe.
fn one(path: &str, written: &str) -> Result<Probe, String> {
    let probes = parse(&format!("{{\"{path}\": {written}}}"))?;
    Ok(probes.get(path).expect("it was declared").clone())
}

fn ready(written: &str) -> Result<Probe, String> {
    one("/app-health/app/readyz", written)
}

#[test]
fn what_the_injector_writes_is_read() {
    let probes = parse(
        r#"{
          "/app-health/app/livez": {
            "httpGet": {
              "path": "/live?deep=1", "port": 8080, "host": "app.test", "scheme": "HTTPS",
              "httpHeaders": [{"name": "X-Probe", "value": "a b"}, {"name": "x-probe", "value": "c"}]
            },
            "timeoutSeconds": 5, "periodSeconds": 10, "failureThreshold": 3
          },
          "/app-health/app/readyz": {"tcpSocket": {"port": 5432}},
          "/app-health/app/startupz": {"grpc": {"port": 50051, "service": "ready"}},
          "/app-lifecycle/app/prestopz": {"httpGet": {"path": "bye", "port": "8080"}}
        }"#,
    );

    let probes = probes.expect("it is right");
    let live = probes.get("/app-health/app/livez").expect("declared");
    assert_eq!(live.timeout, Duration::from_secs(5));
    let Handler::Http(get) = &live.handler else {
        panic!("a request");
    };
    assert_eq!(
        (get.port, get.https, get.path.as_str()),
        (8080, true, "/live?deep=1")
    );
    assert_eq!(get.host, Some(HeaderValue::from_static("app.test")));
    let headers = get.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(headers, [("x-probe", &b"a b"[..]), ("x-probe", b"c")]);
    let ready = probes.get("/app-health/app/readyz").expect("declared");
    assert_eq!(ready.handler, Handler::Tcp { port: 5432 });
    assert_eq!(ready.timeout, TIMEOUT_DEFAULT);
    let startup = probes.get("/app-health/app/startupz").expect("declared");
    let service = "ready".to_owned();
    assert_eq!(
        startup.handler,
        Handler::Grpc {
            port: 50051,
            service
        }
    );
    let stop = probes.get("/app-lifecycle/app/prestopz").expect("declared");
    assert_eq!(stop.timeout, TIMEOUT_MAX);
    assert!(matches!(&stop.handler, Handler::Http(get) if get.path.as_str() == "/bye"));
    assert!(probes.get("/app-health/other/livez").is_none());
}

#[test]
fn nothing_is_no_probe() {
    for text in ["", " ", "{}"] {
        assert!(parse(text).expect("it is right").is_empty());
    }
}

#[test]
fn a_host_among_the_headers_is_the_host() {
    let probe = ready(
        r#"{"httpGet": {"port": 80, "host": "a.test",
            "httpHeaders": [{"name": "Host", "value": "b.test"}, {"name": "accept", "value": ""}]}}"#,
    );

    let Handler::Http(get) = probe.expect("it is right").handler else {
        panic!("a request");
    };
    assert_eq!(get.host, Some(HeaderValue::from_static("b.test")));
    assert_eq!(get.path.as_str(), "/");
    assert_eq!(get.headers.len(), 1);
}

#[test]
fn no_probe_takes_longer_than_kubelets_connection_lives() {
    let probe = ready(r#"{"tcpSocket": {"port": 1}, "timeoutSeconds": 86400}"#);

    assert_eq!(probe.expect("it is right").timeout, TIMEOUT_MAX);
}

#[test]
fn what_is_wrong_says_where() {
    for (written, expected) in [
        ("{}", "exactly one of httpGet, tcpSocket and grpc"),
        (
            r#"{"tcpSocket": {"port": 1}, "grpc": {"port": 1}}"#,
            "exactly one of",
        ),
        (
            r#"{"tcpSocket": {"port": "http"}}"#,
            "tcpSocket.port: must be a number of 1–65535, got \"http\"",
        ),
        (r#"{"tcpSocket": {"port": 0}}"#, "tcpSocket.port"),
        (r#"{"grpc": {"port": 65536}}"#, "grpc.port"),
        (
            r#"{"httpGet": {"port": 1, "scheme": "http"}}"#,
            "httpGet.scheme: must be HTTP or HTTPS",
        ),
        (
            r#"{"httpGet": {"port": 1, "path": "/a b"}}"#,
            "httpGet.path",
        ),
        (r#"{"httpGet": {"port": 1, "host": "a\n"}}"#, "httpGet.host"),
        (
            r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}}"#,
            "httpGet.httpHeaders[a b]",
        ),
        (
            r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "\n"}]}}"#,
            "httpGet.httpHeaders[a]",
        ),
        (r#"{"httpGet": {}}"#, "port"),
        (r#""#, ""),
    ] {
        let wrong = ready(written).expect_err(written);

        assert!(wrong.contains(expected), "{written}: {wrong}");
    }
    let twice = r#"{"/app-health/a/livez": {"grpc": {"port": 1}}, "/app-health/a/livez": {}}"#;
    assert!(parse(twice).is_err());
    assert!(parse("[]").is_err());
    let service = "a".repeat(SERVICE_BYTES_MAX + 1);
    assert!(
        ready(&format!(
            "{{\"grpc\": {{\"port\": 1, \"service\": \"{service}\"}}}}"
        ))
        .is_err()
    );
}

#[test]
fn only_paths_of_probes_can_be_declared() {
    for (path, right) in [
        ("/app-health/a/livez", true),
        ("/app-health/a/startupz", true),
        ("/app-lifecycle/a/poststartz", true),
        ("/app-health/a/prestopz", false),
        ("/app-health//livez", false),
        ("/app-health/a/b/livez", false),
        ("/app-health/a/livez/", false),
        ("app-health/a/livez", false),
        ("/healthz/ready", false),
        ("/", false),
    ] {
        let probe = one(path, r#"{"tcpSocket": {"port": 1}}"#);

        assert_eq!(probe.is_ok(), right, "{path}");
    }
}
