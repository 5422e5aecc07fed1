//! Whom streams are for.

use super::*;
use prost_types::Value;

fn value(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn node(id: &str, fields: &[(&str, &str)]) -> Node {
    let fields = fields.iter();
    Node {
        id: id.to_owned(),
        metadata: Some(Struct {
            fields: fields
                .map(|(name, text)| ((*name).to_owned(), value(text)))
                .collect(),
        }),
        ..Node::default()
    }
}

fn peer(identity: &str, pod: Option<&str>) -> Peer {
    Peer {
        identity: Some(SpiffeId::parse(identity).expect("an identity")),
        pod: pod.map(Into::into),
        proof: None,
        address: None,
    }
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[test]
fn what_was_proven_counts() {
    let own = [("NAMESPACE", "shop"), ("SERVICE_ACCOUNT", "web")];
    let said = node("web-1.shop", &own);

    let proxy = admit(Some(&said), &peer(WEB, Some("web-1"))).expect("admitted");

    assert_eq!(
        (&*proxy.name, proxy.viewer.namespace.as_str()),
        ("web-1", "shop")
    );
    assert_eq!(proxy.account.as_deref(), Some("web"));
    // Without a proof what is said counts, and nobody has an account.
    let proxy = admit(Some(&said), &Peer::default()).expect("admitted");
    assert_eq!(proxy.account, None);
}

#[test]
fn nobody_is_served_as_somebody_else() {
    let in_shop = [("NAMESPACE", "shop")];
    let other_account = [("NAMESPACE", "shop"), ("SERVICE_ACCOUNT", "admin")];
    let other = "spiffe://cluster.local/ns/other/sa/web";
    let no_workload = "spiffe://cluster.local/gateway";
    for (said, peer, reason) in [
        (node("web-1.shop", &in_shop), peer(other, None), "identity"),
        (
            node("web-1.shop", &in_shop),
            peer(no_workload, None),
            "identity",
        ),
        (
            node("web-1.shop", &in_shop),
            peer(WEB, Some("web-2")),
            "identity",
        ),
        (
            node("web-1.shop", &other_account),
            peer(WEB, None),
            "identity",
        ),
        (node("web-1.other", &in_shop), peer(WEB, None), "malformed"),
        (node(".shop", &in_shop), peer(WEB, None), "malformed"),
        (node("a\nb.shop", &in_shop), peer(WEB, None), "malformed"),
        (node("web-1.shop", &[]), peer(WEB, None), "malformed"),
        (
            node("web-1.shop", &[("NAMESPACE", "shop"), ("LABELS", "a")]),
            peer(WEB, None),
            "malformed",
        ),
    ] {
        let refused = admit(Some(&said), &peer).expect_err(&said.id);

        assert_eq!(refused.reason(), reason, "{}", said.id);
    }
    assert_eq!(admit(None, &peer(WEB, None)), Err(Refused::NoNode));
}
