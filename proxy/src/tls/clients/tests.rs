//! Certificates that meet demands and that do not.

use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;

struct Made {
    der: CertificateDer<'static>,
    key: Hash,
}

fn certificate(names: Vec<SanType>) -> Made {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    let made = params.self_signed(&key).expect("a certificate");
    Made {
        der: made.der().clone(),
        key: hash(&rcgen::PublicKeyData::subject_public_key_info(&key)),
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("a name"))
}

fn demands() -> Demands {
    Demands {
        presence: Presence::Required,
        authorities: Authorities::Mesh,
        revoked: None,
        names: Vec::new(),
        keys: Vec::new(),
        certificates: Vec::new(),
        leniency: Leniency::Refused,
    }
}

fn named(names: &[&str]) -> Demands {
    Demands {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..demands()
    }
}

#[test]
fn a_certificate_must_bear_one_of_the_names() {
    let ip = SanType::IpAddress([10, 0, 0, 1].into());
    let made = certificate(vec![dns("a.test"), uri("spiffe://t/ns/n/sa/s"), ip]);

    for names in [
        &["A.test"][..],
        &["x.test", "spiffe://t/ns/n/sa/s"],
        &["10.0.0.1"],
        &[],
    ] {
        assert_eq!(named(names).meets(&made.der), Ok(()), "{names:?}");
    }
    for names in [
        &["b.test"][..],
        &["a.test."],
        &["*.test"],
        &["spiffe://T/ns/n/sa/s"],
        &["10.0.0.2"],
    ] {
        let refused = Err(PeerFault::OtherName);
        assert_eq!(named(names).meets(&made.der), refused, "{names:?}");
    }
}

#[test]
fn a_certificate_without_names_bears_none_of_them() {
    let made = certificate(Vec::new());

    assert_eq!(
        named(&["a.test"]).meets(&made.der),
        Err(PeerFault::OtherName)
    );
}

#[test]
fn a_certificate_or_its_key_must_be_known() {
    let (made, other) = (certificate(vec![dns("a")]), certificate(vec![dns("a")]));
    let own = hash(&made.der);
    let with = |keys: &[Hash], certificates: &[Hash]| Demands {
        keys: keys.to_vec(),
        certificates: certificates.to_vec(),
        ..demands()
    };

    for (keys, certificates) in [
        (&[made.key][..], &[][..]),
        (&[], &[own]),
        (&[other.key], &[own]),
        (&[other.key, made.key], &[]),
    ] {
        assert_eq!(with(keys, certificates).meets(&made.der), Ok(()));
    }
    for (keys, certificates) in [
        (&[other.key][..], &[][..]),
        (&[own], &[]),
        (&[], &[made.key]),
        (&[], &[hash(&other.der)]),
    ] {
        let refused = Err(PeerFault::OtherKey);
        assert_eq!(with(keys, certificates).meets(&made.der), refused);
    }
}

#[test]
fn a_known_key_does_not_make_up_for_a_name() {
    let made = certificate(vec![dns("a.test")]);
    let demands = Demands {
        keys: vec![made.key],
        ..named(&["b.test"])
    };

    assert_eq!(demands.meets(&made.der), Err(PeerFault::OtherName));
}
