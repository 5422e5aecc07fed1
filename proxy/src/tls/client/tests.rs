//! Handshakes in memory: which servers are believed, what is offered, and what a renewed certificate
//! changes.

use std::io;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::io::Io;

const WORKLOAD: &str = "spiffe://cluster.local/ns/shop/sa/cart";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// What is odd about a certificate.
type Knob = fn(&mut CertificateParams);

fn plain(_: &mut CertificateParams) {}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, names: Vec<SanType>, knob: Knob) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(7_u64));
        knob(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = aws_lc_rs::default_provider();
        let chain = vec![certificate.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, key, &provider).expect("they fit"))
    }

    /// A list that takes back the certificate with this number.
    fn revoking(&self, serial: u64, until: i32) -> CertificateRevocationListDer<'static> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").into()
    }

    fn believed(&self, lists: Vec<CertificateRevocationListDer<'static>>) -> Arc<Authorities> {
        let authorities = Authorities::new(vec![self.der.clone()], lists);
        Arc::new(authorities.expect("an authority"))
    }
}

fn host(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("ASCII"))
}

/// Terms for a server that must bear one of the names.
fn terms(authorities: &Arc<Authorities>, names: &[&str]) -> Terms {
    Terms {
        own: Own::Nobody,
        server_name: Some("a.test".into()),
        belief: Belief::Host {
            authorities: Arc::clone(authorities),
            names: names.iter().map(|it| Box::from(*it)).collect(),
        },
    }
}

fn client(terms: Terms) -> Arc<TlsClient> {
    TlsClient::new(terms, None, []).expect("valid terms")
}

fn server(certified: &Arc<CertifiedKey>, protocols: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(mutual::VERSIONS)
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    config
}

/// Shakes hands with a server, which then says so in one byte; with what the client has after it.
async fn shake_hands(
    client: &TlsClient,
    server: &Arc<ServerConfig>,
    speech: Speech,
) -> Result<Secured, TlsError> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let mut tls = TlsAcceptor::from(Arc::clone(server)).accept(far).await?;
        tls.write_all(b"!").await?;
        tls.flush().await?;
        Ok::<_, io::Error>(tls)
    };
    let (secured, _served) = tokio::join!(client.secure(Io::Memory(near), speech), accept);
    let mut secured = secured?;
    // Tickets come with the first data.
    secured.io.read_u8().await.expect("a byte");
    Ok(secured)
}

async fn fault(client: &TlsClient, certified: &Arc<CertifiedKey>) -> Option<TlsFault> {
    let server = Arc::new(server(certified, &[]));
    let secured = shake_hands(client, &server, Speech::Http1).await;
    secured.err().map(|error| error.fault())
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_told_apart() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let client = client(terms(&ours.believed(vec![]), &["a.test"]));
    let named = |name| vec![host(name)];

    for (certified, expected) in [
        (ours.leaf(named("a.test"), plain), None),
        (
            ours.leaf(named("a.test"), |it| {
                it.not_after = date_time_ymd(2001, 1, 1)
            }),
            Some(TlsFault::Expired),
        ),
        (
            ours.leaf(named("a.test"), |it| {
                it.not_before = date_time_ymd(3000, 1, 1)
            }),
            Some(TlsFault::NotYetValid),
        ),
        (
            other.leaf(named("a.test"), plain),
            Some(TlsFault::UnknownAuthority),
        ),
        (ours.leaf(named("b.test"), plain), Some(TlsFault::WrongName)),
        (ours.leaf(vec![], plain), Some(TlsFault::WrongName)),
    ] {
        assert_eq!(fault(&client, &certified).await, expected);
    }
}

#[tokio::test]
async fn a_server_that_is_its_own_authority_is_believed_if_that_is_written() {
    let certified = |name: &str, knob: Knob| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![host(name)];
        knob(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = aws_lc_rs::default_provider();
        let chain = vec![certificate.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, key, &provider).expect("they fit"))
    };
    let (own, other) = (certified("a.test", plain), certified("a.test", plain));
    let expired = certified("a.test", |it| it.not_after = date_time_ymd(2001, 1, 1));
    let elsewhere = certified("b.test", plain);

    for (shown, written, believed) in [
        (&own, &own, true),
        (&other, &own, false),
        (&expired, &expired, false),
        (&elsewhere, &elsewhere, false),
    ] {
        let authorities = Authorities::new(written.cert.clone(), vec![]);
        let authorities = Arc::new(authorities.expect("an authority"));
        let client = client(terms(&authorities, &["a.test"]));
        assert_eq!(fault(&client, shown).await.is_none(), believed);
    }
}

#[tokio::test]
async fn a_certificate_bears_one_of_the_names_whatever_kind_it_is() {
    let ours = Authority::new("ours");
    let authorities = ours.believed(vec![]);
    let email = SanType::Rfc822Name("ops@a.test".try_into().expect("ASCII"));
    let ip = SanType::IpAddress("10.1.2.3".parse().expect("an address"));

    for (borne, name, believed) in [
        (host("b.test"), "b.test", true),
        (host("b.test"), "B.TEST", true),
        (host("*.b.test"), "x.b.test", true),
        (host("*.b.test"), "x.y.b.test", false),
        (host("*.b.test"), "*.b.test", true),
        (host("b.test"), "*.test", false),
        (uri(WORKLOAD), WORKLOAD, true),
        (
            uri(WORKLOAD),
            "spiffe://cluster.local/ns/shop/sa/car",
            false,
        ),
        (email.clone(), "ops@a.test", true),
        (email, "a.test", false),
        (ip.clone(), "10.1.2.3", true),
        (ip, "10.1.2.4", false),
        // A host of the name of an address is no address.
        (host("b.test"), "", false),
    ] {
        let client = client(terms(&authorities, &["no.test", name]));
        let found = fault(&client, &ours.leaf(vec![borne.clone()], plain)).await;
        let expected = (!believed).then_some(TlsFault::WrongName);
        assert_eq!(found, expected, "{borne:?} as {name}");
    }
}

#[tokio::test]
async fn a_list_of_what_is_revoked_is_asked_and_has_to_be_in_force() {
    let ours = Authority::new("ours");
    let other = Authority::new("other");
    let leaf = ours.leaf(vec![host("a.test")], plain);

    for (lists, expected) in [
        (vec![], None),
        (vec![ours.revoking(8, 3000)], None),
        (vec![ours.revoking(7, 3000)], Some(TlsFault::Revoked)),
        (
            vec![ours.revoking(8, 2021)],
            Some(TlsFault::RevocationUnknown),
        ),
        (
            vec![other.revoking(8, 3000)],
            Some(TlsFault::RevocationUnknown),
        ),
    ] {
        let client = client(terms(&ours.believed(lists), &["a.test"]));
        assert_eq!(fault(&client, &leaf).await, expected);
    }
}

#[tokio::test]
async fn a_rule_that_believes_anyone_does() {
    let client = client(Terms {
        own: Own::Nobody,
        server_name: None,
        belief: Belief::Anyone,
    });
    let leaf = Authority::new("other").leaf(vec![], |it| it.not_after = date_time_ymd(2001, 1, 1));

    assert_eq!(fault(&client, &leaf).await, None);
}

#[tokio::test]
async fn a_workload_is_who_was_expected_and_says_who_it_is() {
    let ours = Authority::new("ours");
    let mut roots = RootCertStore::empty();
    roots.add(ours.der.clone()).expect("a root");
    let terms = |expected: &[&str]| Terms {
        own: Own::Workload(SpiffeId::parse(WORKLOAD).expect("an identity")),
        server_name: None,
        belief: Belief::Workload {
            trust: Trust {
                roots: Arc::new(roots.clone()),
                domains: [Box::from("cluster.local")].into(),
            },
            expected: expected.iter().map(|it| Box::from(*it)).collect(),
        },
    };
    let leaf = ours.leaf(vec![uri(WORKLOAD)], plain);

    let server = Arc::new(server(&leaf, &["istio-http/1.1"]));
    for expected in [&[][..], &[WORKLOAD]] {
        let secured = shake_hands(&client(terms(expected)), &server, Speech::Http1).await;
        let peer = secured.expect("a handshake").peer;
        assert_eq!(peer.as_ref().map(SpiffeId::as_str), Some(WORKLOAD));
    }
    let other = client(terms(&["spiffe://cluster.local/ns/shop/sa/pay"]));
    assert_eq!(fault(&other, &leaf).await, Some(TlsFault::WrongIdentity));
    let named = ours.leaf(vec![host("a.test")], plain);
    let any = client(terms(&[]));
    assert_eq!(fault(&any, &named).await, Some(TlsFault::WrongIdentity));
}

#[tokio::test]
async fn http2_is_not_spoken_to_a_server_that_does_not_agree_to_it() {
    let ours = Authority::new("ours");
    let client = client(terms(&ours.believed(vec![]), &["a.test"]));
    let leaf = ours.leaf(vec![host("a.test")], plain);

    for (protocols, speech, agreed) in [
        (&["h2", "http/1.1"][..], Speech::Http2, true),
        (&["http/1.1"], Speech::Http1, true),
        (&[], Speech::Http1, true),
        (&[], Speech::Http2, false),
    ] {
        let server = Arc::new(server(&leaf, protocols));
        let secured = shake_hands(&client, &server, speech).await;
        assert_eq!(secured.is_ok(), agreed, "{protocols:?} {speech:?}");
    }
    let server = Arc::new(server(&leaf, &["http/1.1"]));
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = TlsAcceptor::from(server).accept(far);
    let (refused, _) = tokio::join!(client.secure(Io::Memory(near), Speech::Http2), accept);
    let fault = refused.expect_err("no protocol in common").fault();
    assert_eq!(fault, TlsFault::Refused);
}

#[tokio::test]
async fn sessions_go_on_and_their_certificates_are_looked_at_again() {
    let ours = Authority::new("ours");
    let client = client(terms(&ours.believed(vec![]), &["a.test"]));
    let leaf = ours.leaf(vec![host("a.test")], plain);
    let server = Arc::new(server(&leaf, &[]));
    let kind = |secured: &Secured| match &secured.io {
        Io::Tls(tls) => tls.get_ref().1.handshake_kind(),
        other => panic!("not in TLS: {other:?}"),
    };

    let first = shake_hands(&client, &server, Speech::Http1).await;
    assert_eq!(
        kind(&first.expect("a handshake")),
        Some(HandshakeKind::Full)
    );
    let second = shake_hands(&client, &server, Speech::Http1).await;
    let second = second.expect("a handshake");
    assert_eq!(kind(&second), Some(HandshakeKind::Resumed));

    // The same connection, as one that no longer believes the certificate sees it.
    let Io::Tls(tls) = &second.io else {
        panic!("not in TLS")
    };
    let tokio_rustls::TlsStream::Client(tls) = &**tls else {
        panic!("a client")
    };
    let revoked = ours.believed(vec![ours.revoking(7, 3000)]);
    let wary = self::client(terms(&revoked, &["a.test"]));
    let error = wary.verify_again(tls.get_ref().1).expect_err("revoked");
    assert_eq!(error.fault(), TlsFault::Revoked);
    assert!(client.verify_again(tls.get_ref().1).is_ok());
}

#[test]
fn a_renewed_certificate_keeps_the_connections_and_other_terms_do_not() {
    let ours = Authority::new("ours");
    let authorities = ours.believed(vec![]);
    let own = |file: &str, names: &[&str]| Terms {
        own: Own::Named(file.into()),
        ..terms(&authorities, names)
    };
    let (old, new) = (ours.leaf(vec![], plain), ours.leaf(vec![], plain));
    let make = |terms, certified, before| {
        TlsClient::new(terms, Some(certified), before).expect("valid terms")
    };
    let first = make(own("a.pem", &["a"]), &old, None);

    let same = make(own("a.pem", &["a"]), &old, Some(&first));
    let renewed = make(own("a.pem", &["a"]), &new, Some(&first));
    let other_names = make(own("a.pem", &["b"]), &old, Some(&first));
    let other_file = make(own("b.pem", &["a"]), &old, Some(&first));
    let other_roots = Terms {
        own: Own::Named("a.pem".into()),
        ..terms(&ours.believed(vec![]), &["a"])
    };
    let other_roots = make(other_roots, &old, Some(&first));

    assert!(Arc::ptr_eq(&first, &same));
    assert!(!Arc::ptr_eq(&first, &renewed));
    assert_eq!(first.id, renewed.id);
    for other in [other_names, other_file, other_roots] {
        assert_ne!(first.id, other.id);
    }
    assert_ne!(Channel::Plain.id(), Channel::Shut(Shut::Name).id());
}

#[tokio::test]
async fn a_server_that_does_not_want_us_is_told_from_one_that_fails() {
    let ours = Authority::new("ours");
    let mut roots = RootCertStore::empty();
    roots.add(ours.der.clone()).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let leaf = ours.leaf(vec![host("a.test")], plain);
    let wary = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(mutual::VERSIONS)
        .expect("versions")
        .with_client_cert_verifier(clients.build().expect("a root"))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
    let client = client(terms(&ours.believed(vec![]), &["a.test"]));
    let (near, far) = tokio::io::duplex(1 << 16);

    let accept = TlsAcceptor::from(Arc::new(wary)).accept(far);
    let (secured, refused) = tokio::join!(client.secure(Io::Memory(near), Speech::Http1), accept);

    refused.expect_err("no certificate");
    // TLS 1.3: the client hears of it with its first read.
    let read = secured.expect("its side is done").io.read_u8().await;
    let error = read.expect_err("an alert");
    assert_eq!(
        refusal(&error),
        Some(rustls::AlertDescription::CertificateRequired)
    );
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(refusal(&reset), None);
}
