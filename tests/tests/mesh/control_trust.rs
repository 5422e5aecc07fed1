//! Who gets a certificate of the control plane, and who does not: the real program, by what a workload
//! and the log see.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use ::control::proto::discovery::{DeltaDiscoveryRequest, Node};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType, date_time_ymd};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tempfile::TempDir;
use tests::authority::Signed;
use tests::grpc::{Asking, Caller, Grpc, Refused};
use tests::wire::Wire;
use tests::{Authority, Control, control, eventually};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";
/// Codes of gRPC.
const INVALID_ARGUMENT: u32 = 3;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;

async fn start(arguments: &[&str]) -> Control {
    Control::start(&[], arguments).await
}

/// Somebody without a certificate, connected.
async fn stranger(control: &Control) -> Grpc {
    let roots = control.roots();
    let connected = Caller::stranger(&roots).connect(control.addr).await;
    connected.expect("he is let in")
}

fn nothing_said(code: u32) -> Refused {
    Refused {
        code,
        message: String::new(),
    }
}

/// Runs `openssl` in a folder: whether it ended well, and what it printed.
fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

#[tokio::test]
async fn a_token_gets_a_certificate_that_openssl_finds_right_and_that_gets_the_next_one() {
    let control = start(&[]).await;
    let (roots, token) = (control.roots(), control.token("shop", "web", &[]).await);
    let asking = Asking::new(WEB, 3_600);

    let by_token = stranger(&control).await;
    let chain = by_token.certificate(Some(&token), &asking.request).await;
    let chain = chain.expect("signed");

    assert_eq!(chain.last(), Some(&roots), "what to believe comes last");
    let signed = asking.signed(&chain);
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("root.pem"), &roots).expect("written");
    fs::write(folder.path().join("leaf.pem"), &signed.chain).expect("written");
    let strict = ["verify", "-x509_strict", "-CAfile", "root.pem"];
    for purpose in ["sslclient", "sslserver"] {
        let verify = [&strict[..], &["-purpose", purpose, "leaf.pem"]].concat();
        let (right, said) = openssl(folder.path(), &verify);
        assert!(right, "{said}");
    }
    let show = ["x509", "-in", "leaf.pem", "-noout", "-text"];
    let (_, said) = openssl(folder.path(), &show);
    assert!(said.contains(&format!("URI:{WEB}")), "{said}");
    let lasts = ["x509", "-in", "leaf.pem", "-noout", "-checkend"];
    assert!(openssl(folder.path(), &[&lasts[..], &["3000"]].concat()).0);
    assert!(!openssl(folder.path(), &[&lasts[..], &["3700"]].concat()).0);

    let next = Asking::new(WEB, 3_600);
    let by_certificate = Caller::with(&roots, &signed).connect(control.addr).await;
    let by_certificate = by_certificate.expect("it is believed");
    let renewed = by_certificate.certificate(None, &next.request).await;
    assert_eq!(renewed.expect("signed").len(), 2);
    let counted = control.metrics().await;
    assert_eq!(
        counted.sum("meshcontrol_certificates_signed_total", &[]),
        2.0
    );
}

#[tokio::test]
async fn what_was_signed_for_whom_is_in_the_log_and_no_secret_is() {
    let control = start(&["--log", "trace"]).await;
    let token = control.token("shop", "web", &[]).await;
    let (asking, foreign) = (Asking::new(WEB, 0), Asking::new(DB, 0));
    let grpc = stranger(&control).await;

    let chain = grpc.certificate(Some(&token), &asking.request).await;
    let refused = grpc.certificate(Some(&token), &foreign.request).await;

    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("leaf.pem"), &chain.expect("signed")[0]).expect("written");
    let show = ["x509", "-in", "leaf.pem", "-noout", "-serial"];
    let (_, serial) = openssl(folder.path(), &show);
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    let signed = control.stderr.line("what was signed", |line| {
        line.contains("audit") && line.contains("certificate signed")
    });
    let signed = signed.await;
    for part in [WEB, "peer=127.0.0.1", &serial, "not_after="] {
        assert!(signed.contains(part), "{part} in {signed}");
    }
    assert_eq!(refused.expect_err("not his").code, PERMISSION_DENIED);
    let line = control.stderr.line("what was refused", |line| {
        line.contains("audit") && line.contains("certificate refused")
    });
    let line = line.await;
    assert!(line.contains(WEB) && line.contains(DB), "{line}");
    let signature = token.rsplit('.').next().expect("three parts");
    let log = control.stderr.all().join("\n");
    assert!(!log.contains(signature), "the token is in the log");
    assert!(!log.contains("PRIVATE"), "a key is in the log");
}

#[tokio::test]
async fn whoever_is_not_known_learns_only_that() {
    let control = start(&[]).await;
    let other = start(&[]).await;
    let asking = Asking::new(WEB, 0);
    let tokens = [
        None,
        Some("a.b.c".to_owned()),
        Some(control.token("shop", "web", &["--audience", "vault"]).await),
        Some(other.token("shop", "web", &[]).await),
    ];

    for token in tokens {
        let grpc = stranger(&control).await;
        let refused = grpc.certificate(token.as_deref(), &asking.request).await;
        let refused = refused.expect_err("must be refused");
        assert_eq!(refused, nothing_said(UNAUTHENTICATED), "{token:?}");
    }

    let counted = control.metrics().await;
    for reason in [
        "no_proof",
        "token_unreadable",
        "token_audience",
        "token_not_believed",
    ] {
        let labels = [("reason", reason)];
        let refused = counted.sum("meshcontrol_callers_refused_total", &labels);
        assert_eq!(refused, 1.0, "{reason}");
    }
    let told = control.stderr.all();
    let told = told.iter().filter(|line| line.contains("caller refused"));
    assert_eq!(told.count(), 4);
}

#[tokio::test]
async fn certificates_of_strangers_of_other_domains_and_of_the_past_are_not_believed() {
    let control = start(&[]).await;
    let roots = control.roots();
    let ours = issuer(&control);
    let leaf = |uris: &[&str]| {
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().expect("ASCII")));
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.collect();
        params
    };
    let sign = |params: CertificateParams| {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &ours).expect("a certificate");
        Signed {
            chain: signed.pem(),
            key: key.serialize_pem(),
        }
    };
    let mut over = leaf(&[WEB]);
    over.not_after = date_time_ymd(2001, 1, 1);
    let refused = [
        Authority::new("cluster.local")
            .leaf_named(&[WEB], &[])
            .sign(),
        sign(leaf(&["spiffe://other.domain/ns/shop/sa/web"])),
        sign(leaf(&[WEB, DB])),
        sign(leaf(&[])),
        sign(over),
    ];

    for certificate in &refused {
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let caller = Caller {
                versions,
                ..Caller::with(&roots, certificate)
            };
            // With TLS 1.3 a client learns of it only when it uses the connection.
            let _ = caller.connect(control.addr).await;
        }
    }

    let count = || async {
        let labels = [("reason", "handshake")];
        let metrics = control.metrics().await;
        metrics.sum("meshcontrol_connections_refused_total", &labels)
    };
    let all = 2.0 * refused.len() as f64;
    eventually("all refused", count, |count| *count == all).await;
    // What makes the difference is what is wrong with each.
    let good = sign(leaf(&[WEB]));
    let grpc = Caller::with(&roots, &good).connect(control.addr).await;
    let asking = Asking::new(WEB, 0);
    let signed = grpc
        .expect("believed")
        .certificate(None, &asking.request)
        .await;
    signed.expect("known");
}

/// The authority of a control plane, to sign with it what it would not.
fn issuer(control: &Control) -> Issuer<'static, KeyPair> {
    let text = fs::read_to_string(control.state().join("authority.json"));
    let files: serde_json::Value =
        serde_json::from_str(&text.expect("an authority")).expect("JSON");
    let file = |name: &str| files[name].as_str().expect("PEM").to_owned();
    let key = KeyPair::from_pem(&file("ca-key.pem")).expect("a key");
    Issuer::from_ca_cert_pem(&file("ca-cert.pem"), key).expect("an authority")
}

#[tokio::test]
async fn requests_that_are_wrong_are_told_what_is_wrong() {
    let control = start(&[]).await;
    let token = control.token("shop", "web", &[]).await;
    let grpc = stranger(&control).await;

    let short = grpc
        .certificate(Some(&token), &Asking::new(WEB, 5).request)
        .await;
    let mut broken = Asking::new(WEB, 0).request;
    broken.csr.truncate(100);
    let broken = grpc.certificate(Some(&token), &broken).await;
    let mut long = Asking::new(WEB, 0).request;
    long.csr = "a".repeat(1024 * 1024);
    let long = grpc.certificate(Some(&token), &long).await;
    let path = "/istio.v1.auth.Other/Method";
    let unknown = grpc
        .unary(path, Some(&token), &Asking::new(WEB, 0).request)
        .await;

    let short = short.expect_err("too short");
    assert_eq!(short.code, INVALID_ARGUMENT);
    assert!(short.message.contains("at%20least"), "{short:?}");
    assert_eq!(broken.expect_err("no request").code, INVALID_ARGUMENT);
    long.expect_err("too long");
    let unknown = unknown.expect_err("there is no such service");
    assert_eq!(unknown, nothing_said(UNIMPLEMENTED));
}

#[tokio::test]
async fn a_proxy_is_told_nothing_that_is_for_another_namespace() {
    let control = start(&["--plain-addr", "127.0.0.1:0"]).await;
    let token = control.token("shop", "web", &[]).await;
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let says = |namespace: &str| {
        let text = |text: &str| Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let fields = [("NAMESPACE", namespace), ("SERVICE_ACCOUNT", "web")];
        let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
        DeltaDiscoveryRequest {
            node: Some(Node {
                id: format!("web-1.{namespace}"),
                metadata: Some(Struct {
                    fields: fields.into(),
                }),
                ..Node::default()
            }),
            type_url: config::wire::RESOURCES.to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    };

    let grpc = stranger(&control).await;
    let foreign = grpc.unary(path, Some(&token), &says("bank")).await;
    let nobody = grpc.unary(path, None, &says("shop")).await;
    let own = grpc.unary(path, Some(&token), &says("shop")).await;
    let plain = Grpc::plain(control.plain.expect("a port without TLS")).await;
    let plain = plain.unary(path, None, &says("bank")).await;

    assert_eq!(foreign.expect_err("not his").code, PERMISSION_DENIED);
    assert_eq!(nobody.expect_err("nobody"), nothing_said(UNAUTHENTICATED));
    own.expect("his own");
    plain.expect("where what a proxy says counts");
}

#[tokio::test]
async fn a_workload_that_asks_too_often_is_slowed_down() {
    let control = start(&[]).await;
    let token = control.token("shop", "web", &[]).await;
    let grpc = stranger(&control).await;
    let asking = Asking::new(WEB, 0);

    let mut refused = None;
    for _ in 0..100 {
        if let Err(error) = grpc.certificate(Some(&token), &asking.request).await {
            refused = Some(error);
            break;
        }
    }

    assert_eq!(refused.expect("refused").code, RESOURCE_EXHAUSTED);
    let other = control.token("shop", "db", &[]).await;
    let other = grpc
        .certificate(Some(&other), &Asking::new(DB, 0).request)
        .await;
    other.expect("another one is signed his");
}

#[tokio::test]
async fn without_tls_nobody_gets_a_certificate() {
    let control = start(&["--plain-addr", "127.0.0.1:0"]).await;
    let token = control.token("shop", "web", &[]).await;

    let grpc = Grpc::plain(control.plain.expect("a port without TLS")).await;
    let refused = grpc
        .certificate(Some(&token), &Asking::new(WEB, 0).request)
        .await;

    let refused = refused.expect_err("anybody could have read the token");
    assert_eq!(refused, nothing_said(UNAUTHENTICATED));
}

#[tokio::test]
async fn a_new_root_is_believed_first_then_signs_and_then_the_old_one_goes() {
    let control = start(&[]).await;
    let old = control.roots();
    let certificates = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    let roots = async || control.roots();
    let token = control.token("shop", "web", &[]).await;
    let asking = Asking::new(WEB, 0);
    let sign = async |roots: &str| {
        let grpc = Caller::stranger(roots).connect(control.addr).await;
        let grpc = grpc.expect("the control plane is believed");
        let chain = grpc.certificate(Some(&token), &asking.request).await;
        chain.expect("signed")
    };

    fs::write(control.state().join("rotate-root"), "").expect("written");
    let both = eventually("both", roots, |roots| certificates(roots) == 2).await;
    assert!(both.starts_with(&old));
    // Whoever believes the old one alone still believes all that there is.
    assert_eq!(sign(&old).await.last(), Some(&both));

    // So long ago that everybody has learned of it.
    let ago = |days: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("after 1970").as_secs() - days * 24 * 3_600
    };
    remember(&control, "announced", ago(5));
    let turned = |roots: &String| certificates(roots) == 2 && !roots.starts_with(&old);
    let turned = eventually("the turn", roots, turned).await;
    let new = turned.strip_suffix(&old).expect("the old one comes last");
    let believed = || async { Caller::stranger(new).connect(control.addr).await.is_ok() };
    Box::pin(eventually(
        "a certificate of the new root",
        believed,
        |it| *it,
    ))
    .await;
    assert_eq!(sign(new).await.last(), Some(&turned));

    remember(&control, "oldUntil", ago(1));
    eventually("the new one alone", roots, |roots| roots == new).await;
    assert_eq!(sign(new).await.last().map(String::as_str), Some(new));
}

/// Has the control plane remember another time of its rotation.
fn remember(control: &Control, what: &str, seconds: u64) {
    let path = control.state().join("authority.json");
    let text = fs::read_to_string(&path).expect("an authority");
    let mut files: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rotation = files["rotation.json"].as_str().expect("a rotation");
    let mut rotation: serde_json::Value = serde_json::from_str(rotation).expect("JSON");
    assert!(rotation[what].is_u64(), "{rotation}");
    rotation[what] = json!(seconds);
    files["rotation.json"] = json!(rotation.to_string());
    let beside = path.with_extension("new");
    fs::write(&beside, files.to_string()).expect("written");
    fs::rename(&beside, &path).expect("renamed");
}

#[tokio::test]
async fn a_second_control_plane_and_a_restart_have_the_same_root() {
    let folder = TempDir::new().expect("a folder");
    let (mesh, state) = (folder.path().join("mesh"), folder.path().join("state"));
    fs::create_dir(&mesh).expect("a folder");
    let (first, second) = tokio::join!(
        Control::start_from(&mesh, &state, &[]),
        Control::start_from(&mesh, &state, &[]),
    );
    let token = first.token("shop", "web", &[]).await;
    let asking = Asking::new(WEB, 0);

    let chain = stranger(&second)
        .await
        .certificate(Some(&token), &asking.request)
        .await;
    let signed = asking.signed(&chain.expect("signed"));
    drop((first, second));
    let third = Control::start_from(&mesh, &state, &[]).await;

    let roots = third.roots();
    let connected = Caller::with(&roots, &signed).connect(third.addr).await;
    let renewed = connected
        .expect("believed")
        .certificate(None, &asking.request)
        .await;
    renewed.expect("signed");
}

#[tokio::test]
async fn told_to_stop_it_is_ready_no_more_and_ends_its_connections_in_order() {
    let mut control = start(&[]).await;
    let token = control.token("shop", "web", &[]).await;
    let grpc = stranger(&control).await;
    let asking = Asking::new(WEB, 0);
    let chain = grpc.certificate(Some(&token), &asking.request).await;
    chain.expect("signed");

    control.signal(Signal::TERM);

    assert_eq!(control.ended().await.code(), Some(0));
    let stopped = |line: &str| line.contains("stopped");
    control.stderr.line("an orderly end", stopped).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let control = start(&[]).await;

    let mut wire = Wire::connect(control.addr).await;

    assert_eq!(wire.rest().await.0, "");
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let source = format!("dir:{}", path("mesh"));
    fs::write(folder.path().join("file"), "").expect("written");
    let state = path("state");
    let bad = path("file");
    let run = |arguments: Vec<String>| async move {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        control::run(&arguments).await
    };
    let serve = |more: &[&str]| {
        // Every port by the system: those of the defaults may be somebody else's.
        let own = [
            "--metrics-addr",
            "127.0.0.1:0",
            "--http-addr",
            "127.0.0.1:0",
        ];
        let all = [&["serve", "--source", &source], &own[..], more].concat();
        run(all.into_iter().map(str::to_owned).collect())
    };

    let usage = serve(&[]).await;
    let no_folder = serve(&["--state-dir", &bad, "--addr", "127.0.0.1:0"]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let taken = serve(&["--state-dir", &state, "--addr", &addr]).await;

    assert_eq!(usage.status.code(), Some(2));
    for (output, part) in [(no_folder, "file"), (taken, addr.as_str())] {
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(
            said.starts_with("meshcontrol: ") && said.contains(part),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_certificate_lives_no_longer_than_is_allowed() {
    let arguments = [
        "--certificate-lifetime",
        "1m",
        "--certificate-lifetime-max",
        "5m",
    ];
    let control = start(&arguments).await;
    let token = control.token("shop", "web", &[]).await;
    let grpc = stranger(&control).await;

    for (asked, granted) in [(0, 60), (120, 120), (86_400, 300)] {
        let asking = Asking::new(WEB, asked);
        let chain = grpc.certificate(Some(&token), &asking.request).await;
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("leaf.pem"), &chain.expect("signed")[0]).expect("written");
        let lasts = |seconds: u64| {
            let seconds = seconds.to_string();
            let check = ["x509", "-in", "leaf.pem", "-noout", "-checkend", &seconds];
            openssl(folder.path(), &check).0
        };
        assert!(!lasts(granted + 1), "{asked}");
        assert!(granted == 60 || lasts(granted - 60), "{asked}");
    }
}
