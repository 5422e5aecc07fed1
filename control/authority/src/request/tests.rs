//! Requests by their rules. What programs of others make is in `tests/openssl.rs`.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};

use super::*;

fn id() -> SpiffeId {
    SpiffeId::workload("cluster.local", "default", "reviews").expect("an identity")
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

/// What a proxy asks for.
fn asked() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![uri(id().as_str())];
    params
}

fn der(params: &CertificateParams, pair: &KeyPair) -> Vec<u8> {
    let request = params.serialize_request(pair).expect("a request");
    request.der().to_vec()
}

fn check(params: &CertificateParams) -> Result<Request, RequestError> {
    let pair = KeyPair::generate().expect("a key");
    Request::from_der(&der(params, &pair), &id())
}

#[test]
fn a_request_for_the_one_identity_passes_with_each_kind_of_key() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let request = asked().serialize_request(&pair).expect("a request");

        let by_der = Request::from_der(request.der(), &id()).expect("sound");
        let by_pem = Request::from_pem(&request.pem().expect("PEM"), &id()).expect("sound");

        let key = pair.subject_public_key_info();
        assert_eq!(by_der.key().subject_public_key_info(), key, "{algorithm:?}");
        assert_eq!(by_pem.key().subject_public_key_info(), key, "{algorithm:?}");
        assert_eq!(by_der.id(), &id());
    }
}

#[test]
fn only_the_entitled_identity_is_signed() {
    for named in [
        "spiffe://cluster.local/ns/default/sa/ratings",
        "spiffe://cluster.local/ns/default/sa/reviews2",
        "spiffe://cluster.local/ns/default/sa/Reviews",
        "spiffe://other.local/ns/default/sa/reviews",
        "spiffe://cluster.local/ns/default/sa/reviews/",
        "https://cluster.local/ns/default/sa/reviews",
        "*",
        "",
    ] {
        let mut params = asked();
        params.subject_alt_names = vec![uri(named)];

        let error = check(&params).expect_err("it is another");

        assert!(
            matches!(error, RequestError::NotEntitled { .. }),
            "{named}: {error}"
        );
    }
}

#[test]
fn a_name_beside_the_identity_is_refused() {
    let other = |text: &str| SanType::DnsName(text.try_into().expect("ASCII"));
    let own = || uri(id().as_str());
    for names in [
        vec![own(), own()],
        vec![own(), uri("spiffe://cluster.local/ns/default/sa/ratings")],
        vec![own(), other("reviews")],
        vec![other("reviews"), own()],
        vec![own(), SanType::IpAddress([127, 0, 0, 1].into())],
        vec![
            own(),
            SanType::Rfc822Name("a@b.c".try_into().expect("ASCII")),
        ],
        vec![other("reviews")],
    ] {
        let mut params = asked();
        params.subject_alt_names = names;

        assert_eq!(check(&params).err(), Some(RequestError::Names));
    }
    let mut params = asked();
    params
        .distinguished_name
        .push(DnType::CommonName, "reviews");
    assert_eq!(check(&params).err(), Some(RequestError::Subject));
    let mut params = asked();
    params.subject_alt_names = vec![];
    assert_eq!(check(&params).err(), Some(RequestError::Extension));
}

#[test]
fn a_subject_without_text_is_none() {
    let mut params = asked();
    params.distinguished_name.push(DnType::OrganizationName, "");

    check(&params).expect("nothing is named");
}

#[test]
fn a_wish_to_be_more_than_a_leaf_is_refused() {
    let mut ca = asked();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut no_ca = asked();
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let mut usage = asked();
    usage.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let mut extended = asked();
    extended.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let mut custom = asked();
    custom.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
        &[1, 2, 3, 4],
        vec![5, 0],
    )];

    for params in [ca, no_ca, usage, extended, custom] {
        assert_eq!(check(&params).err(), Some(RequestError::Extension));
    }
}

#[test]
fn another_attribute_is_refused() {
    let pair = KeyPair::generate().expect("a key");
    // A challenge password: SET { UTF8String "a" }.
    let password = rcgen::Attribute {
        oid: &[1, 2, 840, 113_549, 1, 9, 7],
        values: vec![0x31, 3, 0x0c, 1, b'a'],
    };
    let request = asked().serialize_request_with_attributes(&pair, vec![password]);

    let checked = Request::from_der(request.expect("a request").der(), &id());

    assert_eq!(checked.err(), Some(RequestError::Attribute));
}

#[test]
fn the_sender_must_have_the_key() {
    let (victim, thief) = (
        KeyPair::generate().expect("a key"),
        KeyPair::generate().expect("a key"),
    );
    let mut forged = der(&asked(), &thief);
    let (own, foreign) = (thief.public_key_raw(), victim.public_key_raw());
    let at = forged.windows(own.len()).position(|window| window == own);
    let at = at.expect("a request has its key");
    forged[at..at + own.len()].copy_from_slice(foreign);

    let checked = Request::from_der(&forged, &id());

    assert_eq!(checked.err(), Some(RequestError::Signature));
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");

    let checked = Request::from_der(&der(&asked(), &pair), &id());

    assert_eq!(checked.err(), Some(RequestError::Key));
}

#[test]
fn what_is_long_or_has_something_behind_it_is_refused() {
    let pair = KeyPair::generate().expect("a key");
    let mut longer = der(&asked(), &pair);
    longer.push(0);

    let unreadable = Some(RequestError::Unreadable);
    assert_eq!(Request::from_der(&longer, &id()).err(), unreadable);
    assert_eq!(Request::from_der(&[], &id()).err(), unreadable);
    assert_eq!(Request::from_pem("", &id()).err(), unreadable);
    let long = vec![0x30; REQUEST_BYTES_MAX + 1];
    assert_eq!(
        Request::from_der(&long, &id()).err(),
        Some(RequestError::TooLong)
    );
}

#[test]
fn what_a_stranger_named_cannot_forge_a_line() {
    let mut params = asked();
    params.subject_alt_names = vec![uri(&format!("a\nb{}", "x".repeat(1_000)))];

    let error = check(&params).expect_err("another identity").to_string();

    assert!(error.contains("\"a\\nbxxx"), "{error}");
    assert!(error.len() < 2 * SHOWN_CHARS_MAX, "{error}");
}

#[test]
fn bits_of_a_modulus_are_counted_without_leading_zeros() {
    assert_eq!(rsa_bits(&[]), 0);
    assert_eq!(rsa_bits(&[0, 0]), 0);
    assert_eq!(rsa_bits(&[0, 0x80, 0]), 16);
    assert_eq!(rsa_bits(&[1, 0]), 9);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let refused = Request::from_der(&bytes, &id()).is_err();
        prop_assert!(refused);
    }

    /// A byte may be changed only where it says nothing: what passes is for the same key and identity.
    #[test]
    fn a_changed_request_never_gives_another_key_or_identity(at in 0_usize..400, bit in 0_u32..8) {
        let pair = KeyPair::generate().expect("a key");
        let mut bytes = der(&asked(), &pair);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;

        if let Ok(request) = Request::from_der(&bytes, &id()) {
            prop_assert_eq!(request.id(), &id());
            prop_assert_eq!(request.key().subject_public_key_info(), pair.subject_public_key_info());
        }
    }
}
