//! Command lines and what comes of them. The environment is left alone: it is shared by all tests
//! of the process, so that only its names are tested.

use super::*;
use crate::pressure::HighWater;

/// Probes of an application.
const PROBES: &str = r#"{"/app-health/app/readyz": {"tcpSocket": {"port": 8080}}}"#;

fn parse(arguments: &[&str]) -> Result<Invocation, clap::Error> {
    Invocation::parse([&["meshproxy"], arguments].concat())
}

fn settings(arguments: &[&str]) -> Settings {
    match parse(&[&["--config", "a.yaml"], arguments].concat()) {
        Ok(Invocation::Run(settings)) => *settings,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

#[test]
fn a_request_to_explain_is_read_with_flags_between_files_and_url() {
    let typed = [
        "explain",
        "a.yaml",
        "b",
        "-X",
        "POST",
        "-H",
        "x-a: 1",
        "--from",
        "app=web",
        "http://a:81/x",
    ];
    let Ok(Invocation::Explain(arguments)) = parse(&typed) else {
        panic!("must be an explanation");
    };

    assert_eq!(arguments.paths, [PathBuf::from("a.yaml"), "b".into()]);
    let crate::explain::Subject::Request(asked) = &arguments.asked else {
        panic!("a request");
    };
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.url.to_string(), "http://a:81/x");
    assert_eq!(asked.headers["x-a"], "1");
    assert_eq!(arguments.caller.viewer.labels, pairs(&[("app", "web")]));
    for wrong in [
        &["explain", "a.yaml"][..],
        &["explain", "a.yaml", "ftp://a"],
        &["explain", "a.yaml", "a", "-H", "x"],
        &["explain", "a.yaml", "a", "-X", "a b"],
    ] {
        let error = parse(wrong).expect_err("must be a usage error");
        assert_eq!(error.exit_code(), 2, "{wrong:?}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_manual() {
    let settings = settings(&[]);

    assert!(!settings.name.is_empty(), "the host name");
    assert!((1..=2).contains(&settings.workers.get()));
    let expected = Settings {
        config: vec!["a.yaml".into()],
        control: None,
        namespace: "default".into(),
        name: settings.name.clone(),
        pod: settings.name.clone(),
        labels: BTreeMap::new(),
        service_account: "default".into(),
        trust_domain: "cluster.local".into(),
        trust_domain_aliases: Vec::new(),
        identity_dir: None,
        cluster: "Kubernetes".into(),
        locality: None,
        workers: settings.workers,
        bind: [0, 0, 0, 0].into(),
        capture: false,
        admin_addr: ([127, 0, 0, 1], 15000).into(),
        metrics_addr: ([0, 0, 0, 0], 15090).into(),
        health_addr: ([0, 0, 0, 0], 15021).into(),
        app_probes: AppProbes::default(),
        dns: None,
        stream_idle_timeout: Some(Duration::from_secs(3_600)),
        access_log: AccessLog::Off,
        explain_from: Vec::new(),
        proxy_protocol_from: Vec::new(),
        log: "info".into(),
        limits: Limits::default(),
        lifecycle: Lifecycle {
            drain_timeout: None,
            minimum_drain: Duration::from_secs(5),
            ends_when_idle: true,
            exit_with_app: false,
            upgrade_timeout: Duration::from_secs(60),
        },
        capacity: Capacity {
            connections_max: None,
            connections_per_client: None,
            memory: HighWater::Default,
        },
    };
    assert_eq!(settings, expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all flags and settings")]
fn flags_set_what_they_name() {
    let all = settings(&[
        "--config",
        "dir,b.yaml",
        "--namespace",
        "shop",
        "--name",
        "cart-1",
        "--pod",
        "cart-1-x2b4",
        "--labels",
        "app=cart, version=v1,empty=",
        "--service-account",
        "cart",
        "--trust-domain",
        "td.example",
        "--trust-domain-aliases",
        "old.example,older",
        "--identity-dir",
        "/etc/identity",
        "--cluster",
        "east",
        "--locality",
        "r/z/s",
        "--workers",
        "4",
        "--bind",
        "::1",
        "--capture",
        "--admin-addr",
        "127.0.0.1:0",
        "--metrics-addr",
        "[::1]:1",
        "--health-addr",
        "1.2.3.4:5",
        "--stream-idle-timeout",
        "0",
        "--access-log",
        "json",
        "--explain-from",
        "10.0.0.0/8,::1",
        "--log",
        "warn,proxy::upstream=debug",
    ]);

    let expected = Settings {
        config: vec!["a.yaml".into(), "dir".into(), "b.yaml".into()],
        namespace: "shop".into(),
        name: "cart-1".into(),
        pod: "cart-1-x2b4".into(),
        labels: pairs(&[("app", "cart"), ("version", "v1"), ("empty", "")]),
        service_account: "cart".into(),
        trust_domain: "td.example".into(),
        trust_domain_aliases: vec!["old.example".into(), "older".into()],
        identity_dir: Some("/etc/identity".into()),
        cluster: "east".into(),
        locality: Some(Locality {
            region: "r".into(),
            zone: "z".into(),
            subzone: "s".into(),
        }),
        workers: NonZeroUsize::new(4).expect("not zero"),
        bind: "::1".parse().expect("an address"),
        capture: true,
        admin_addr: ([127, 0, 0, 1], 0).into(),
        metrics_addr: "[::1]:1".parse().expect("an address"),
        health_addr: ([1, 2, 3, 4], 5).into(),
        app_probes: AppProbes::default(),
        dns: None,
        stream_idle_timeout: None,
        access_log: AccessLog::Json,
        explain_from: vec![network("10.0.0.0/8"), network("::1")],
        proxy_protocol_from: Vec::new(),
        log: "warn,proxy::upstream=debug".into(),
        limits: Limits::default(),
        ..settings(&[])
    };
    assert_eq!(all, expected);
}

#[test]
fn how_the_proxy_comes_goes_and_bears_up_are_flags() {
    let set = settings(&[
        "--drain-timeout=30s",
        "--minimum-drain=0",
        "--exit-on-zero-active-connections=false",
        "--exit-with-app",
        "--upgrade-timeout=10s",
        "--max-connections=1000",
        "--max-connections-per-client=0",
        "--memory-high-water=80%",
    ]);

    let lifecycle = Lifecycle {
        drain_timeout: Some(Duration::from_secs(30)),
        minimum_drain: Duration::ZERO,
        ends_when_idle: false,
        exit_with_app: true,
        upgrade_timeout: Duration::from_secs(10),
    };
    let capacity = Capacity {
        connections_max: NonZeroUsize::new(1_000),
        connections_per_client: Some(0),
        memory: HighWater::Percent(80),
    };
    assert_eq!((set.lifecycle, set.capacity), (lifecycle, capacity));
}

#[test]
fn limits_of_clients_are_flags_within_bounds() {
    let set = settings(&[
        "--max-header-bytes=8192",
        "--max-headers=32",
        "--max-target-bytes=1024",
        "--request-head-timeout=5s",
        "--client-stall-timeout=6s",
        "--client-idle-timeout=2m",
        "--path-normalization=decode-and-merge-slashes",
    ]);

    let expected = Limits {
        head_bytes_max: 8192,
        headers_max: 32,
        target_bytes_max: 1024,
        head_timeout: std::time::Duration::from_secs(5),
        stall_timeout: std::time::Duration::from_secs(6),
        idle_timeout: std::time::Duration::from_secs(120),
        normalization: crate::request::path::Normalization::DecodeAndMergeSlashes,
    };
    assert_eq!(set.limits, expected);
    for flag in [
        "--max-headers=257",
        "--max-header-bytes=1",
        "--request-head-timeout=10ms",
    ] {
        let parsed = Invocation::parse(["meshproxy", "--config", "a.yaml", flag]);
        assert!(parsed.is_err(), "{flag}");
    }
}

#[test]
fn check_needs_paths_and_takes_a_format() {
    let args = |paths: &[&str], output| CheckArgs {
        paths: paths.iter().map(PathBuf::from).collect(),
        output,
        namespace: "default".into(),
        path_normalization: Normalization::Base,
    };
    for (arguments, expected) in [
        (&["check", "a", "b"][..], args(&["a", "b"], Output::Text)),
        (&["check", "-o", "json", "a"], args(&["a"], Output::Json)),
        (
            &["check", "a", "--output", "text"],
            args(&["a"], Output::Text),
        ),
    ] {
        match parse(arguments) {
            Ok(Invocation::Check(check)) => assert_eq!(check, expected),
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
}

#[test]
fn balancers_are_named_by_their_networks() {
    let settings = settings(&["--proxy-protocol-from", "10.1.0.0/16,::1"]);

    let network = |text: &str| text.parse().expect("a network");
    let expected = [network("10.1.0.0/16"), network("::1")];
    assert_eq!(settings.proxy_protocol_from, expected);
}

#[test]
fn what_cannot_be_used_is_a_usage_error_that_says_why() {
    let run = ["--config", "a.yaml"];
    for (arguments, message) in [
        (&[][..], "--config <PATH>"),
        (&["check"], "<PATH>..."),
        (
            &["--config", "a", "check", "b"],
            "subcommand 'check' cannot be used",
        ),
        (
            &["--control", "https://c:15012", "--config", "a"],
            "cannot be used with",
        ),
        (
            &["--app-probes", "{\"/metrics\": {}}", "--config", "a"],
            "/metrics: must be /app-health/CONTAINER/livez",
        ),
        (
            &["--dns", "localhost", "--config", "a"],
            "must be addresses such as 127.0.0.1:15053,[::1]:15053, got \"localhost\"",
        ),
        (&["--dns-upstream", "10.0.0.10", "--config", "a"], "--dns"),
        (
            &["--trust-domain-aliases", "a,B", "--config", "a"],
            "must be a trust domain of lower-case letters",
        ),
        (
            &["--namespace", "Shop"],
            "must be 1 to 63 lower-case letters",
        ),
        (&["--name", "a b"], "must be letters, digits"),
        (
            &["--labels", "app"],
            "must be key=value pairs with commas between, got \"app\"",
        ),
        (&["--labels", "=x"], "must have a key before \"=\""),
        (&["--labels", "a=1,a=2"], "has the key \"a\" twice"),
        (
            &["--locality", "r//s"],
            "must be region, region/zone or region/zone/subzone",
        ),
        (&["--workers", "0"], "must be 1 to 1024"),
        (&["--workers", "many"], "must be 1 to 1024"),
        (
            &["--stream-idle-timeout", "5"],
            "must be a duration such as",
        ),
        (
            &["--stream-idle-timeout", "1ms"],
            "must be 0, or from 100ms to 8760h",
        ),
        (&["--bind", "localhost"], "invalid value 'localhost'"),
        (&["--admin-addr", "15000"], "invalid value '15000'"),
        (
            &["--access-log", "xml"],
            "[possible values: off, text, json]",
        ),
        (&["--log", "proxy=loud"], "must be such as \"info\""),
        (&["--worker", "2"], "'--workers'"),
    ] {
        let given = arguments.contains(&"--config") || arguments.contains(&"check");
        let line = if given || arguments.is_empty() {
            arguments.to_vec()
        } else {
            [&run, arguments].concat()
        };

        let error = parse(&line).expect_err("a usage error");

        assert_eq!(error.exit_code(), 2, "{line:?}");
        assert!(error.to_string().contains(message), "{line:?}: {error}");
    }
}

#[test]
fn every_flag_of_a_proxy_has_its_name_in_the_environment() {
    for argument in Cli::command().get_arguments() {
        let flag = argument.get_long().expect("only flags");
        if matches!(flag, "help" | "version") {
            continue;
        }
        let expected = match flag {
            // Not ours to name.
            "istio-app-probes" => "ISTIO_KUBE_APP_PROBERS".to_owned(),
            _ => format!("MESHPROXY_{}", flag.to_uppercase().replace('-', "_")),
        };
        assert_eq!(
            argument.get_env().and_then(|env| env.to_str()),
            Some(&*expected)
        );
    }
}

#[test]
fn help_shows_what_there_is_and_hides_what_is_not_yet() {
    let help = parse(&["--help"]).expect_err("the help text");

    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    for now in ["--config <PATH>", "--capture", "check", "explain", "test"] {
        assert!(help.contains(now), "{now}");
    }
    assert!(help.contains("--control <URL"));
}

#[test]
fn names_are_answered_where_captured_questions_are_led_to_if_nothing_else_is_said() {
    for arguments in [&["--dns", "--config", "a"][..], &["--config", "a", "--dns"]] {
        let dns = settings(arguments).dns.expect("it is on");

        let listen: Vec<String> = dns.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:15053", "[::1]:15053"]);
        assert!(dns.upstream.is_empty());
    }
}

#[test]
fn what_is_answered_for_the_workload_can_be_said() {
    let settings = settings(&[
        "--app-probes",
        PROBES,
        "--dns",
        "127.0.0.1:0, [::1]:53",
        "--dns-upstream",
        "10.0.0.10,[fd00::10]:5353",
    ]);

    assert_eq!(settings.app_probes, PROBES.parse().expect("probes"));
    let dns = settings.dns.expect("it is on");
    let texts = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&dns.listen), ["127.0.0.1:0", "[::1]:53"]);
    assert_eq!(texts(&dns.upstream), ["10.0.0.10:53", "[fd00::10]:5353"]);
}

#[test]
fn probes_are_taken_as_the_injector_says_them_unless_ours_are_said() {
    let istio = settings(&["--istio-app-probes", PROBES]);
    let ours = settings(&["--istio-app-probes", PROBES, "--app-probes", ""]);

    assert!(!istio.app_probes.is_empty());
    assert!(ours.app_probes.is_empty());
}

#[test]
fn a_control_plane_takes_the_place_of_files() {
    let parse = |arguments: &[&str]| {
        let program = ["meshproxy", "--control"];
        let arguments = program.iter().chain(arguments);
        match Invocation::parse(arguments) {
            Ok(Invocation::Run(settings)) => Ok(*settings),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    };

    let settings = parse(&["https://a,https://b:1"]).expect("two control planes");
    let control = settings.control.clone().expect("a control plane");
    let replicas = control.replicas.iter().map(ToString::to_string);
    assert_eq!(
        replicas.collect::<Vec<_>>(),
        ["https://a:15012", "https://b:1"]
    );
    assert_eq!(control.demand_timeout, Duration::from_secs(5));
    assert_eq!(
        control.certificate_lifetime,
        Duration::from_secs(2 * 86_400)
    );
    assert_eq!(control.state_dir, None);
    assert!(settings.config.is_empty() && settings.asks_for_certificates());

    let own = parse(&["https://a", "--identity-dir", "/id"]).expect("an identity of our own");
    assert!(!own.asks_for_certificates(), "it has one");
    let plain = parse(&["http://a"]).expect("plain text");
    assert!(!plain.asks_for_certificates(), "nobody vouches for it");
    for (arguments, told) in [
        (&["http://a,https://b"][..], "either all are https or none"),
        (&["a:15012"], "must be such as"),
        (&["https://a", "--certificate-lifetime", "1s"], "from 60s"),
        (&["https://a", "--demand-timeout", "2m"], "to 60s"),
    ] {
        let error = parse(arguments).expect_err("not usable");
        assert!(error.contains(told), "{error}");
    }
}
