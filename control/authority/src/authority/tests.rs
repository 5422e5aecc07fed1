//! Chains as webpki judges them. What OpenSSL says is in `tests/openssl.rs`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use config::spiffe::SpiffeId;
use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{ServerName as AskedName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::Bundle;

/// Some day of this century.
fn today() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

fn root() -> Authority {
    Authority::root("root", today(), DAY * 365).expect("a root")
}

fn reviews() -> SpiffeId {
    SpiffeId::workload("cluster.local", "default", "reviews").expect("an identity")
}

/// What a workload gets that asks in the way it must.
fn issue(authority: &Authority, now: SystemTime, lifetime: Duration) -> Issued {
    let pair = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = reviews().as_str().try_into().expect("ASCII");
    params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    let csr = params.serialize_request(&pair).expect("a request");
    let request = Request::from_der(csr.der(), &reviews()).expect("a sound request");
    authority.sign(&request, now, lifetime).expect("signed")
}

fn store(roots: &[&Authority]) -> Arc<RootCertStore> {
    let mut bundle = Bundle::default();
    for root in roots {
        bundle.add(root.certificate()).expect("a root");
    }
    let mut store = RootCertStore::empty();
    for root in bundle.roots() {
        store.add(root.clone()).expect("a root");
    }
    Arc::new(store)
}

/// Whether a server that believes `roots` takes the chain of a client at `now`.
fn is_taken(roots: &[&Authority], issued: &Issued, now: SystemTime) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(store(roots), provider);
    let verifier = verifier.build().expect("a verifier");
    let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
    let now = UnixTime::since_unix_epoch(since);
    let (leaf, above) = issued.chain().split_first().expect("a leaf");
    verifier.verify_client_cert(leaf, above, now).is_ok()
}

#[test]
fn leaves_of_roots_and_intermediates_are_taken_by_webpki() {
    let root = root();
    let intermediate = root
        .intermediate("i", today(), DAY * 30)
        .expect("below a root");

    for (authority, length) in [(&root, 1), (&intermediate, 2)] {
        let issued = issue(authority, today(), HOUR);

        assert_eq!(issued.chain().len(), length);
        assert!(is_taken(&[&root], &issued, today()));
        assert!(
            !is_taken(&[&self::root()], &issued, today()),
            "another root"
        );
    }
}

#[test]
fn a_leaf_is_taken_within_its_time_and_by_late_clocks() {
    let root = root();
    let issued = issue(&root, today() + DAY, HOUR);
    let skew = crate::validity::CLOCK_SKEW;
    let second = Duration::from_secs(1);

    for (at, taken) in [
        (today() + DAY - skew - second, false),
        (today() + DAY - skew, true),
        (today() + DAY + HOUR, true),
        (today() + DAY + HOUR + second, false),
    ] {
        assert_eq!(is_taken(&[&root], &issued, at), taken);
    }
}

#[test]
fn while_roots_rotate_the_leaves_of_both_are_taken() {
    let (old, new) = (root(), root());
    let (of_old, of_new) = (issue(&old, today(), HOUR), issue(&new, today(), HOUR));

    assert!(is_taken(&[&old, &new], &of_old, today()));
    assert!(is_taken(&[&old, &new], &of_new, today()));
    assert!(!is_taken(&[&new], &of_old, today()), "the old root is gone");
}

#[test]
fn a_server_is_known_by_its_names() {
    let root = root();
    let names = ["*.shop.test", "localhost", "127.0.0.1"];
    let names = names.map(|name| name.parse().expect("a name"));
    let key = Key::generate().expect("a key");

    let issued = root
        .sign_server(&names, &key, today(), DAY)
        .expect("signed");

    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(store(&[&root]), provider);
    let verifier = verifier.build().expect("a verifier");
    let since = today().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = UnixTime::since_unix_epoch(since);
    for (name, known) in [
        ("a.shop.test", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("shop.test", false),
        ("127.0.0.2", false),
    ] {
        let asked = AskedName::try_from(name).expect("a name");
        let judged = verifier.verify_server_cert(&issued.chain()[0], &[], &asked, &[], now);
        assert_eq!(judged.is_ok(), known, "{name}");
    }
    assert!(
        !is_taken(&[&root], &issued, today()),
        "a server is no client"
    );
}

#[test]
fn an_intermediate_has_no_authority_below_it() {
    let intermediate = root()
        .intermediate("i", today(), DAY)
        .expect("below a root");

    let error = intermediate.intermediate("j", today(), DAY).err();

    assert_eq!(error, Some(AuthorityError::PathLength));
}

#[test]
fn lifetimes_and_names_have_bounds() {
    let root = root();
    let key = Key::generate().expect("a key");
    let second = Duration::from_secs(1);

    for lifetime in [LEAF_LIFETIME_MIN - second, LEAF_LIFETIME_MAX + second] {
        let error = root
            .sign_workload(&reviews(), &key, today(), lifetime)
            .err();
        assert!(matches!(error, Some(AuthorityError::Lifetime { .. })));
    }
    for lifetime in [LIFETIME_MIN - second, LIFETIME_MAX + second] {
        let error = Authority::root("a", today(), lifetime).err();
        assert!(matches!(error, Some(AuthorityError::Lifetime { .. })));
    }
    for name in ["", "a\nb", &"a".repeat(NAME_CHARS_MAX + 1)] {
        let error = Authority::root(name, today(), DAY).err();
        assert_eq!(error, Some(AuthorityError::Name));
    }
    let none = root.sign_server(&[], &key, today(), DAY).err();
    assert_eq!(none, Some(AuthorityError::ServerNames));
}

#[test]
fn an_authority_signs_only_while_it_is_valid() {
    let root = Authority::root("root", today(), DAY).expect("a root");
    let key = Key::generate().expect("a key");
    let sign = |now| root.sign_workload(&reviews(), &key, now, HOUR);

    sign(today()).expect("now");
    assert_eq!(
        sign(today() - HOUR).err(),
        Some(AuthorityError::NotYetValid)
    );
    let late = today() + DAY - LEAF_LIFETIME_MIN / 2;
    assert_eq!(sign(late).err(), Some(AuthorityError::ExpiresSoon));
    let over = today() + DAY + HOUR;
    assert_eq!(sign(over).err(), Some(AuthorityError::Expired));
}

#[test]
fn an_authority_survives_its_text() {
    let root = root();
    let intermediate = root.intermediate("i", today(), DAY).expect("below a root");
    let full = intermediate.chain_pem() + &root.chain_pem();

    for chain in [&intermediate.chain_pem(), &full] {
        let loaded = Authority::load(chain, &intermediate.key_pem()).expect("its text");

        let issued = issue(&loaded, today(), HOUR);
        assert_eq!(issued.chain().len(), 2, "the root is left out");
        assert!(is_taken(&[&root], &issued, today()));
        assert_eq!(loaded.validity(), intermediate.validity());
        let below = loaded.intermediate("j", today(), DAY).err();
        assert_eq!(below, Some(AuthorityError::PathLength));
    }
    let loaded = Authority::load(&root.chain_pem(), &root.key_pem()).expect("its text");
    assert!(is_taken(&[&root], &issue(&loaded, today(), HOUR), today()));
}

#[test]
fn what_does_not_belong_together_is_not_loaded() {
    let (root, other) = (root(), root());
    let intermediate = root.intermediate("i", today(), DAY).expect("below a root");
    let leaf = issue(&root, today(), HOUR).chain_pem();
    let load = |chain: &str, key: &str| Authority::load(chain, key).err();

    let error = load(&root.chain_pem(), &other.key_pem());
    assert_eq!(error, Some(AuthorityError::KeyMismatch));
    let error = load("", &root.key_pem());
    assert_eq!(error, Some(AuthorityError::NoCertificate));
    let error = load(&root.chain_pem(), "");
    assert_eq!(error, Some(AuthorityError::Key(KeyError::Unreadable)));
    let error = load(&leaf, &root.key_pem());
    let no_authority = CertificateError::NoAuthority;
    assert_eq!(error, Some(AuthorityError::Certificate(1, no_authority)));
    let foreign = intermediate.chain_pem() + &other.chain_pem();
    let error = load(&foreign, &intermediate.key_pem());
    assert_eq!(error, Some(AuthorityError::BrokenChain(1)));
    let long = root.chain_pem().repeat(CHAIN_MAX + 1);
    assert_eq!(
        load(&long, &root.key_pem()),
        Some(AuthorityError::LongChain)
    );
}

#[test]
fn what_is_printed_has_no_secret() {
    let printed = format!("{:?}", root());

    assert!(
        printed.starts_with("Authority { is_root: true, validity: "),
        "{printed}"
    );
    assert!(!printed.contains("key"), "{printed}");
}

#[test]
fn serial_numbers_are_of_chance() {
    let root = root();
    let serial = || {
        let issued = issue(&root, today(), HOUR);
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.chain()[0]).expect("sound");
        parsed.raw_serial().to_vec()
    };

    let serials: std::collections::BTreeSet<_> = (0..16).map(|_| serial()).collect();

    assert_eq!(serials.len(), 16);
    let longest = serials.iter().map(Vec::len).max();
    assert!(longest.is_some_and(|bytes| (SERIAL_BYTES..=20).contains(&bytes)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_leaf_outlives_its_authorities(
        of_intermediate in 1_u64..500,
        after in 0_u64..600,
        lifetime in 1_u64..24 * 90,
    ) {
        let root = Authority::root("root", today(), DAY * 10).expect("a root");
        let intermediate = root
            .intermediate("i", today(), HOUR * u32::try_from(of_intermediate).expect("small"))
            .expect("below a root");
        let key = Key::generate().expect("a key");
        let now = today() + Duration::from_secs(after * 3_600);
        let lifetime = Duration::from_secs(lifetime * 3_600);

        let signed = intermediate.sign_workload(&reviews(), &key, now, lifetime);

        let last = intermediate.validity().not_after.min(root.validity().not_after);
        match signed {
            Ok(issued) => {
                let validity = issued.validity();
                prop_assert!(validity.not_after <= last);
                prop_assert!(validity.not_after <= now + lifetime);
                prop_assert!(validity.not_before >= root.validity().not_before);
                prop_assert!(is_taken(&[&root], &issued, now));
            }
            Err(error) => {
                prop_assert!(now + LEAF_LIFETIME_MIN > last, "{}", error);
            }
        }
    }
}
