use crate::bootstrap::Invocation;

use super::*;

fn parse(arguments: &[&str]) -> Result<IptablesArgs, clap::Error> {
    match Invocation::parse([&["meshproxy", "iptables"], arguments].concat()) {
        Ok(Invocation::Iptables(arguments)) => Ok(arguments),
        Ok(other) => panic!("{arguments:?}: {other:?}"),
        Err(error) => Err(error),
    }
}

fn capture(arguments: &[&str]) -> Capture {
    match parse(arguments).expect("usable arguments").action {
        Action::Install(capture) => *capture,
        Action::Clean => panic!("{arguments:?}"),
    }
}

fn blocks(texts: &[&str]) -> Vec<IpBlock> {
    let blocks = texts.iter().map(|text| text.parse().expect("a network"));
    blocks.collect()
}

#[test]
fn by_default_everything_is_captured() {
    let arguments = parse(&[]).expect("usable arguments");

    assert_eq!(arguments.backend, Backend::Auto);
    assert!(!arguments.dry_run);
    let expected = Capture {
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
    };
    assert_eq!(arguments.action, Action::Install(Box::new(expected)));
}

#[test]
fn the_flags_of_istios_init_container_mean_the_same() {
    // As Istio's injector writes them, with every annotation in use.
    let typed = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i 10.0.0.0/8,fd00::/8 -x 10.9.0.0/16 \
                 -b 80,8080 -d 15090,15021,9000 -q 5432 -o 25,,465 -k vnet0 -c eth1,net+ \
                 --redirect-dns=true --capture-all-dns --drop-invalid";
    let typed: Vec<&str> = typed.split_whitespace().collect();

    let capture = capture(&typed);

    let names = |names: &[&str]| -> Vec<Interface> {
        let names = names.iter().map(|name| name.parse().expect("a name"));
        names.collect()
    };
    let expected = Capture {
        outbound_port: 15_001,
        inbound_port: 15_006,
        users: vec![1_337],
        groups: vec![1_337],
        networks: Selection::Only(blocks(&["10.0.0.0/8", "fd00::/8"])),
        networks_except: blocks(&["10.9.0.0/16"]),
        outbound_ports: vec![5_432],
        outbound_ports_except: vec![25, 465],
        inbound_ports: Selection::Only(vec![80, 8_080]),
        inbound_ports_except: vec![15_090, 15_021, 9_000],
        callers: vec![],
        callers_except: vec![],
        machines: names(&["vnet0"]),
        interfaces_except: names(&["eth1", "net+"]),
        dns: Dns::All,
        drop_invalid: true,
    };
    assert_eq!(capture, expected);
}

#[test]
fn an_empty_list_is_nothing_and_a_star_is_everything() {
    let nothing = capture(&["-i", "", "-b", " , ", "--outbound-owner-groups", "7,8"]);
    let everything = capture(&["-i", "*", "-b", " * ", "--outbound-owner-groups=*"]);

    assert_eq!(nothing.networks, Selection::Only(vec![]));
    assert_eq!(nothing.inbound_ports, Selection::Only(vec![]));
    assert_eq!(nothing.callers, [7, 8]);
    assert_eq!(everything.networks, Selection::All);
    assert_eq!(everything.inbound_ports, Selection::All);
    assert!(everything.callers.is_empty());
}

#[test]
fn groups_of_the_proxy_follow_its_users() {
    assert_eq!(capture(&["-u", "7,8"]).groups, [7, 8]);
    assert_eq!(capture(&["-u", "7,8", "-g", "9"]).groups, [9]);
    assert!(capture(&["-u", "7,8", "-g", ""]).groups.is_empty());
}

#[test]
fn to_clean_needs_none_of_the_others_and_takes_them_all() {
    let clean = parse(&["--clean", "--dry-run", "-b", "80", "-m", "TPROXY"]);

    let clean = clean.expect("usable arguments");
    assert_eq!(clean.action, Action::Clean);
    assert!(clean.dry_run);
}

#[test]
fn what_cannot_be_done_or_contradicts_itself_is_a_usage_error_that_says_why() {
    for (arguments, message) in [
        (&["-m", "TPROXY"][..], "must be REDIRECT, got \"TPROXY\""),
        (&["-u", ""], "--proxy-uid: must name a user"),
        (
            &["-u", "istio-proxy"],
            "must be a number of a user or group",
        ),
        (&["-p", "0"], "must be a port from 1 to 65535"),
        (&["-p", "15006"], "must differ, both are 15006"),
        (
            &["-i", "*,10.0.0.0/8"],
            "--istio-service-cidr: must be an IP address",
        ),
        (
            &["-x", "*"],
            "--istio-service-exclude-cidr: must be an IP address",
        ),
        (
            &["-i", "10.0.0.0/33"],
            "--istio-service-cidr: must be an IP address",
        ),
        (&["-b", "80,http"], "--istio-inbound-ports: must be a port"),
        (&["-c", "eth0;reboot"], "must be the name of an interface"),
        (&["-c=-j"], "must be the name of an interface"),
        (&["-k", "+"], "must be the name of an interface"),
        (
            &["-k", "much-longer-than-the-kernel-has"],
            "must be the name of an interface",
        ),
        (
            &["--capture-all-dns"],
            "--capture-all-dns needs --redirect-dns",
        ),
        (&["-b", "80,81", "-d", "81"], "81 is in both"),
        (&["-q", "80", "-o", "80"], "80 is in both"),
        (
            &["-i", "10.0.0.0/8", "-x", "10.1.1.1/8"],
            "10.0.0.0/8 is in both",
        ),
        (&["-k", "a", "-c", "a"], "a is in both"),
        (
            &[
                "--outbound-owner-groups",
                "1",
                "--outbound-owner-groups-exclude",
                "2",
            ],
            "name either some or all but some",
        ),
    ] {
        let error = parse(arguments).expect_err("must be a usage error");

        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        let text = error.to_string();
        assert!(text.contains(message), "{arguments:?}: {text}");
    }
}

#[test]
fn a_list_has_an_end() {
    let many: Vec<String> = (1..=1_025).map(|port: u16| port.to_string()).collect();

    let error = parse(&["-d", &many.join(",")]).expect_err("must be a usage error");

    assert!(
        error.to_string().contains("must be at most 1024 items"),
        "{error}"
    );
    assert_eq!(capture(&["-d", "7,7,7"]).inbound_ports_except, [7]);
}
