use std::path::PathBuf;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;
use crate::source::kubernetes::SILENCE_MAX;

fn serve(arguments: &[&str]) -> Result<ServeArgs, clap::Error> {
    let fixed = ["meshcontrol", "serve"];
    match Cli::try_parse_from([&fixed, arguments].concat())?.command {
        Command::Serve(arguments) => arguments.check().map(|()| *arguments),
        other @ (Command::Token(_)
        | Command::Inject(_)
        | Command::Crds(_)
        | Command::Status(_)
        | Command::Analyze(_)) => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn ports_and_names_are_those_that_istio_uses_unless_told_otherwise() {
    let arguments = serve(&["--source", "kubernetes"]).expect("enough");

    assert_eq!(arguments.source, Source::Kubernetes);
    assert_eq!(arguments.addresses.addr.port(), 15012);
    assert_eq!(arguments.addresses.plain_addr, None);
    assert_eq!(arguments.addresses.webhook_addr.port(), 15017);
    assert_eq!(arguments.addresses.metrics_addr.port(), 15014);
    assert_eq!(arguments.addresses.http_addr.port(), 8080);
    assert_eq!(arguments.namespace, "istio-system");
    assert_eq!(arguments.trust.trust_domain, "cluster.local");
    assert_eq!(arguments.trust.audience, "istio-ca");
    assert_eq!(arguments.trust.certificate_lifetime.as_secs(), 48 * 3_600);
    assert_eq!(arguments.api_silence_max, SILENCE_MAX);
}

#[test]
fn a_folder_needs_a_place_for_keys_and_a_cluster_has_one() {
    let folder = serve(&["--source", "dir:mesh", "--state-dir", "state"]).expect("enough");

    assert_eq!(folder.source, Source::Folder(PathBuf::from("mesh")));
    for arguments in [
        &["--source", "dir:mesh"][..],
        &["--source", "kubernetes", "--state-dir", "state"],
    ] {
        let error = serve(arguments).expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn what_no_flag_can_take_is_a_usage_error() {
    for (flag, value) in [
        ("--source", "dir:"),
        ("--source", "etcd"),
        ("--addr", "15012"),
        ("--namespace", "Istio"),
        ("--trust-domain", "a/b"),
        ("--audience", ""),
        ("--certificate-lifetime", "59s"),
        ("--certificate-lifetime", "2161h"),
        ("--certificate-lifetime", "73h"),
        ("--api-silence-max", "9s"),
        ("--api-silence-max", "61m"),
        ("--server-name", "*"),
        ("--log", "a=b=c"),
    ] {
        let error = serve(&["--source", "kubernetes", flag, value]).expect_err("must be refused");
        assert_eq!(error.exit_code(), 2, "{flag} {value}");
    }
}

#[test]
fn tokens_are_for_workloads_that_can_be() {
    let parse = |account| {
        let fixed = ["meshcontrol", "token", "--state-dir", "state"];
        Cli::try_parse_from([&fixed[..], &["--service-account", account]].concat())
    };

    parse("db.main").expect("an account");
    for account in ["", "a/b", "A", "a..b", "-a"] {
        assert_eq!(parse(account).expect_err(account).exit_code(), 2);
    }
}
