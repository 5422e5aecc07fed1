//! Callers without Kubernetes, as they come.

use std::net::Ipv4Addr;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::state_dir::StateDir;

const HOUR: Duration = Duration::from_secs(3_600);

fn key() -> TokenKey {
    let folder = TempDir::new().expect("a folder");
    let dir = StateDir::open(&folder.path().join("state")).expect("a folder");
    TokenKey::open(&dir).expect("a key")
}

fn identifier(key: TokenKey) -> Identifier {
    let registry = Registry::new();
    Identifier::new("td", "istio-ca", Tokens::Own(key), &registry).expect("metrics")
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// What becomes of somebody with a header and a certificate.
async fn shows(
    identifier: &Identifier,
    authorization: Option<&str>,
    certificate: Option<&PeerCertificate>,
    now: SystemTime,
) -> Result<Caller, Refusal> {
    let shown = Shown {
        certificate,
        authorization: authorization.map(str::as_bytes),
        from: Ipv4Addr::LOCALHOST.into(),
    };
    identifier.identify(shown, now).await
}

#[tokio::test]
async fn a_token_of_ours_names_its_account_until_it_is_over() {
    let key = key();
    let token = key.issue(("shop", "web"), "istio-ca", now(), HOUR);
    let header = format!("Bearer {}", token.expect("a token"));
    let identifier = identifier(key);

    let caller = shows(&identifier, Some(&header), None, now()).await;

    let caller = caller.expect("known");
    assert_eq!(caller.id.as_str(), "spiffe://td/ns/shop/sa/web");
    assert_eq!(caller.proof, Proof::Token);
    let later = shows(&identifier, Some(&header), None, now() + HOUR * 2).await;
    assert_eq!(later, Err(Refusal::TokenExpired));
    let counted = identifier.refused.with_label_values(&["token_expired"]);
    assert_eq!(counted.get(), 1);
}

#[tokio::test]
async fn other_tokens_are_refused_for_their_reasons() {
    let (key, foreign) = (self::key(), self::key());
    let issue = |key: &TokenKey, account, audience| {
        let token = key.issue(account, audience, now(), HOUR);
        format!("Bearer {}", token.expect("a token"))
    };
    let good = issue(&key, ("shop", "web"), "istio-ca");
    let (head, _) = good.rsplit_once('.').expect("three parts");
    let (other, signature) = (
        issue(&key, ("shop", "db"), "istio-ca"),
        good.rsplit('.').next(),
    );
    let (other, _) = other.rsplit_once('.').expect("three parts");
    let swapped = format!("{other}.{}", signature.expect("three parts"));
    let none = "eyJhbGciOiJub25lIn0";
    let unsigned = format!("Bearer {none}.{}.", head.rsplit('.').next().expect("two"));
    let cases = [
        (
            issue(&foreign, ("shop", "web"), "istio-ca"),
            Refusal::TokenNotBelieved,
        ),
        (swapped, Refusal::TokenNotBelieved),
        (unsigned, Refusal::TokenNotBelieved),
        (
            issue(&key, ("shop", "web"), "vault"),
            Refusal::TokenAudience,
        ),
        (
            issue(&key, ("shop", "a/b"), "istio-ca"),
            Refusal::TokenSubject,
        ),
        (issue(&key, ("shop", ""), "istio-ca"), Refusal::TokenSubject),
        (head.to_owned(), Refusal::TokenUnreadable),
        ("Bearer ".to_owned(), Refusal::TokenUnreadable),
        ("Basic YTpi".to_owned(), Refusal::TokenUnreadable),
        (
            format!("Bearer {}", "a".repeat(TOKEN_BYTES_MAX + 1)),
            Refusal::TokenUnreadable,
        ),
    ];
    let identifier = identifier(key);

    for (header, refusal) in cases {
        let known = shows(&identifier, Some(&header), None, now()).await;
        assert_eq!(known, Err(refusal), "{header}");
    }
    let nothing = shows(&identifier, None, None, now()).await;
    assert_eq!(nothing, Err(Refusal::NoProof));
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let identifier = identifier(key());
    let certificate = PeerCertificate {
        id: SpiffeId::workload("td", "shop", "web").expect("an identity"),
        not_after: now(),
    };

    let caller = shows(&identifier, None, Some(&certificate), now()).await;
    let later = now() + Duration::from_secs(1);
    let after = shows(&identifier, None, Some(&certificate), later).await;

    assert_eq!(caller.expect("known").proof, Proof::Certificate);
    assert_eq!(after, Err(Refusal::CertificateExpired));
}

#[tokio::test]
async fn whoever_tries_tokens_is_slowed_down_and_nobody_else_is() {
    let identifier = identifier(key());
    let show = |from: IpAddr| {
        identifier.identify(
            Shown {
                certificate: None,
                authorization: Some(b"Bearer a.b.c"),
                from,
            },
            now(),
        )
    };
    let first = Ipv4Addr::new(10, 0, 0, 1).into();
    for _ in 0..ATTEMPTS.burst {
        assert_eq!(show(first).await, Err(Refusal::TokenUnreadable));
    }

    let mut slowed = false;
    for _ in 0..100 {
        slowed |= show(first).await == Err(Refusal::TooMany);
    }

    assert!(slowed);
    let other = Ipv4Addr::new(10, 0, 0, 2).into();
    assert_eq!(show(other).await, Err(Refusal::TokenUnreadable));
}
