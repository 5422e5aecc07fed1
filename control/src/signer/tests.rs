//! What callers are signed, and what they are not.

use std::net::Ipv4Addr;

use authority::{Authority, Bundle};
use config::spiffe::SpiffeId;
use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;
use crate::identity::Proof;

const HOUR: Duration = Duration::from_secs(3_600);
const LIFETIMES: Lifetimes = Lifetimes {
    default: Duration::from_secs(24 * 3_600),
    max: Duration::from_secs(72 * 3_600),
};

fn trust(now: SystemTime) -> Arc<Trust> {
    let authority = Authority::root("test", now, HOUR * 24 * 30).expect("a root");
    let mut roots = Bundle::default();
    roots.add(authority.certificate()).expect("a root");
    Arc::new(Trust::new(authority, roots, now).expect("it signs"))
}

fn signer(trust: Option<Arc<Trust>>) -> Signer {
    let (_, receiver) = watch::channel(trust);
    Signer::new(receiver, LIFETIMES, &Registry::new()).expect("metrics")
}

fn caller(account: &str) -> Caller {
    Caller {
        id: SpiffeId::workload("td", "shop", account).expect("an identity"),
        pod: None,
        proof: Proof::Token,
    }
}

/// A request for a certificate of an account.
fn asks(account: &str, seconds: i64) -> IstioCertificateRequest {
    let uri = format!("spiffe://td/ns/shop/sa/{account}");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("ASCII"))];
    params.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate().expect("a key");
    let csr = params.serialize_request(&key).expect("a request");
    IstioCertificateRequest {
        csr: csr.pem().expect("text"),
        validity_duration: seconds,
        metadata: None,
    }
}

fn from(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

#[test]
fn a_caller_is_signed_his_own_identity_for_as_long_as_he_asks_and_may() {
    let now = SystemTime::now();
    let signer = signer(Some(trust(now)));

    for (asked, granted) in [
        (0, LIFETIMES.default),
        (-1, LIFETIMES.default),
        (3_600, HOUR),
        (i64::MAX, LIFETIMES.max),
    ] {
        let signed = signer.issue(&caller("web"), from(1), &asks("web", asked), now);

        let (issued, _) = signed.expect("signed");
        let lasts = issued.validity().not_after.duration_since(now);
        let difference = granted - lasts.expect("it lasts");
        assert!(
            difference < Duration::from_secs(1),
            "{asked}: {difference:?}"
        );
        assert!(!serial(&issued).is_empty());
    }
}

#[test]
fn a_caller_is_not_signed_what_is_not_his() {
    let now = SystemTime::now();
    let signer = signer(Some(trust(now)));
    let issue = |asked| {
        let issued = signer.issue(&caller("web"), from(1), &asked, now);
        issued.expect_err("must be refused")
    };

    let foreign = issue(asks("db", 0));
    let broken = issue(IstioCertificateRequest::default());
    let short = issue(asks("web", 59));

    assert_eq!(foreign.status().code(), Code::PermissionDenied);
    assert_eq!(foreign.reason(), "not_entitled");
    assert_eq!(broken.status().code(), Code::InvalidArgument);
    assert_eq!(short.status().code(), Code::InvalidArgument);
}

#[test]
fn without_an_authority_a_caller_learns_to_come_again_and_nothing_else() {
    let now = SystemTime::now();

    let missing = signer(None).issue(&caller("web"), from(1), &asks("web", 0), now);
    let later = now + HOUR * 24 * 40;
    let over = signer(Some(trust(now))).issue(&caller("web"), from(1), &asks("web", 0), later);

    for error in [missing, over] {
        let status = error.expect_err("must be refused").status();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, ""));
    }
}

#[test]
fn whoever_asks_too_often_is_refused_and_nobody_else_is() {
    let now = SystemTime::now();
    let signer = signer(Some(trust(now)));
    let asked = asks("web", 0);
    let issue = |last| signer.issue(&caller("web"), from(last), &asked, now);
    for _ in 0..EACH.burst {
        issue(1).expect("signed");
    }

    let refused = (0..3).any(|_| issue(1).is_err_and(|error| error == SignError::TooMany));

    assert!(refused);
    issue(2).expect("another pod of the same account");
    let other = signer.issue(&caller("db"), from(1), &asks("db", 0), now);
    other.expect("another account on the same host");
    // Behind address translation all pods of a Deployment come from one address.
    let pod = Caller {
        pod: Some("web-2".into()),
        proof: Proof::Token,
        ..caller("web")
    };
    let other = signer.issue(&pod, from(1), &asked, now);
    other.expect("a pod that its token tells from others");
}
