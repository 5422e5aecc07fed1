//! Whom the control plane believes in Kubernetes, and where it keeps what it signs with.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::grpc::{Asking, Caller, Refused};
use tests::{Cluster, Control, eventually};

const UNAUTHENTICATED: u32 = 16;
const PERMISSION_DENIED: u32 = 7;

async fn secrets(cluster: &Cluster, namespace: &str) -> Api<Secret> {
    Api::namespaced(cluster.client().await, namespace)
}

fn text(secret: &Secret, name: &str) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get(name));
    let data = data.unwrap_or_else(|| panic!("no {name}"));
    String::from_utf8(data.0.clone()).expect("text")
}

/// The roots of a control plane's own authority.
async fn roots(cluster: &Cluster, namespace: &str) -> String {
    let secrets = secrets(cluster, namespace).await;
    let secret = secrets.get("meshcontrol-ca").await.expect("a Secret");
    text(&secret, "root-cert.pem")
}

/// Changes a Secret by what is in `patch`.
async fn merge(secrets: &Api<Secret>, name: &str, patch: &Value) {
    let parameters = PatchParams::default();
    let patched = secrets.patch(name, &parameters, &Patch::Merge(patch)).await;
    patched.expect("changed");
}

fn uri(namespace: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

#[tokio::test]
async fn a_service_account_gets_its_own_certificate_by_its_token_and_no_other() {
    let cluster = Cluster::shared().await;
    let (own, shop) = (
        cluster.namespace("trust").await,
        cluster.namespace("shop").await,
    );
    cluster.account(&shop, "web").await;
    let control = Control::in_cluster(&cluster.admin(), &own, &[]).await;
    let roots = roots(cluster, &own).await;
    let token = cluster.token(&shop, "web", &["istio-ca"]).await;
    let grpc = Caller::stranger(&roots)
        .named(&format!("meshcontrol.{own}.svc"))
        .connect(control.addr)
        .await
        .expect("believed");
    let (asking, foreign) = (
        Asking::new(&uri(&shop, "web"), 0),
        Asking::new(&uri(&own, "default"), 0),
    );

    let chain = grpc.certificate(Some(&token), &asking.request).await;
    let refused = grpc.certificate(Some(&token), &foreign.request).await;
    let other = cluster.token(&shop, "web", &["vault"]).await;
    let other = grpc.certificate(Some(&other), &asking.request).await;
    let mut parts: Vec<&str> = token.split('.').collect();
    let forged: String = parts[2].chars().rev().collect();
    parts[2] = &forged;
    let forged = parts.join(".");
    let forged = grpc.certificate(Some(&forged), &asking.request).await;

    assert_eq!(chain.expect("signed").last(), Some(&roots));
    assert_eq!(refused.expect_err("not his").code, PERMISSION_DENIED);
    for answer in [other, forged] {
        let nothing = Refused {
            code: UNAUTHENTICATED,
            message: String::new(),
        };
        assert_eq!(answer.expect_err("not believed"), nothing);
    }
    let counted = control.metrics().await;
    for reason in ["token_audience", "token_not_believed"] {
        let labels = [("reason", reason)];
        let refused = counted.sum("meshcontrol_callers_refused_total", &labels);
        assert_eq!(refused, 1.0, "{reason}");
    }
}

#[tokio::test]
async fn replicas_that_start_at_once_have_one_root_and_survive_its_removal() {
    let cluster = Cluster::shared().await;
    let own = cluster.namespace("replicas").await;
    let admin = cluster.admin();
    let (first, second, third) = tokio::join!(
        Control::in_cluster(&admin, &own, &[]),
        Control::in_cluster(&admin, &own, &[]),
        Control::in_cluster(&admin, &own, &[]),
    );
    let before = roots(cluster, &own).await;

    for control in [&first, &second, &third] {
        let connected = Caller::stranger(&before)
            .named(&format!("meshcontrol.{own}.svc"))
            .connect(control.addr)
            .await;
        connected.expect("all are of the one root");
    }
    let secrets = secrets(cluster, &own).await;
    let parameters = DeleteParams::default();
    let deleted = secrets.delete("meshcontrol-ca", &parameters).await;
    deleted.expect("deleted");

    let again = || async {
        let secret = secrets.get_opt("meshcontrol-ca").await.expect("an answer");
        secret.map(|secret| text(&secret, "root-cert.pem"))
    };
    let after = eventually("the Secret again", again, Option::is_some).await;
    assert_eq!(after, Some(before), "the same root as before");
}

#[tokio::test]
async fn a_new_root_is_asked_for_by_an_annotation_and_told_to_every_namespace() {
    let mut cluster = Cluster::start().await;
    let (own, shop) = (
        cluster.namespace("mesh").await,
        cluster.namespace("shop").await,
    );
    let admin = cluster.admin();
    let (first, _second) = tokio::join!(
        Control::in_cluster(&admin, &own, &[]),
        Control::in_cluster(&admin, &own, &[]),
    );
    let old = roots(&cluster, &own).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, &shop);
    let believed = || async {
        let map = maps.get_opt("istio-ca-root-cert").await.expect("an answer");
        let data = map.and_then(|map| map.data).unwrap_or_default();
        data.get("root-cert.pem").cloned()
    };
    let is_old = |roots: &Option<String>| roots.as_ref() == Some(&old);
    eventually("the roots in the namespace", believed, is_old).await;

    let secrets = secrets(&cluster, &own).await;
    let wish = json!({"metadata": {"annotations": {"meshproxy.io/rotate-root": "now"}}});
    merge(&secrets, "meshcontrol-ca", &wish).await;

    let both = |roots: &Option<String>| {
        let roots = roots.as_deref().unwrap_or_default();
        roots.matches("BEGIN").count() == 2 && roots.starts_with(&old)
    };
    let told = eventually("both roots in the namespace", believed, both).await;
    let secret = secrets.get("meshcontrol-ca").await.expect("a Secret");
    assert_eq!(Some(text(&secret, "root-cert.pem")), told);
    assert!(
        secret.metadata.annotations.unwrap_or_default().is_empty(),
        "it was taken"
    );
    let parameters = DeleteParams::default();
    let deleted = maps.delete("istio-ca-root-cert", &parameters).await;
    deleted.expect("deleted");
    eventually("the ConfigMap again", believed, both).await;
    let late = cluster.namespace("late").await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, &late);
    let there = || async { maps.get_opt("istio-ca-root-cert").await.expect("an answer") };
    eventually("the roots in a new namespace", there, Option::is_some).await;

    // Nothing stops without an API server: whoever has a certificate gets the next one.
    cluster.account(&shop, "web").await;
    let token = cluster.token(&shop, "web", &["istio-ca"]).await;
    let asking = Asking::new(&uri(&shop, "web"), 0);
    let name = format!("meshcontrol.{own}.svc");
    let grpc = Caller::stranger(&old)
        .named(&name)
        .connect(first.addr)
        .await;
    let chain = grpc
        .expect("believed")
        .certificate(Some(&token), &asking.request)
        .await;
    let signed = asking.signed(&chain.expect("signed"));
    cluster.kill_api();
    let grpc = Caller::with(&old, &signed)
        .named(&name)
        .connect(first.addr)
        .await;
    let renewed = grpc
        .expect("believed")
        .certificate(None, &asking.request)
        .await;
    renewed.expect("signed");
}

#[tokio::test]
async fn the_authority_of_a_company_takes_the_place_of_our_own_without_a_restart() {
    let cluster = Cluster::shared().await;
    let own = cluster.namespace("plugged").await;
    let control = Control::in_cluster(&cluster.admin(), &own, &[]).await;
    let before = roots(cluster, &own).await;
    let company = tests::Authority::new("company");
    let secret = |roots: &str| Secret {
        metadata: ObjectMeta {
            name: Some("cacerts".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(
            [
                ("ca-cert.pem", company.root()),
                ("ca-key.pem", company.key()),
                ("cert-chain.pem", company.root()),
                ("root-cert.pem", roots.to_owned()),
            ]
            .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
            .into(),
        ),
        ..Secret::default()
    };
    let secrets = secrets(cluster, &own).await;
    let name = format!("meshcontrol.{own}.svc");
    let believed = async |roots: &str| {
        let caller = Caller::stranger(roots).named(&name);
        caller.connect(control.addr).await.is_ok()
    };

    // Below a root that it is not below: nobody would believe what it signs.
    let wrong = secret(&before);
    let created = secrets.create(&PostParams::default(), &wrong).await;
    created.expect("created");
    let refused = |line: &str| line.contains("stays as it was") && line.contains("cacerts");
    control.stderr.line("why it is not used", refused).await;
    assert!(believed(&before).await, "what was before stays");
    let right = secret(&company.root());
    let right = serde_json::to_value(right).expect("JSON");
    merge(&secrets, "cacerts", &right).await;

    let root = company.root();
    Box::pin(eventually(
        "the company's root",
        || believed(&root),
        |it| *it,
    ))
    .await;
    for name in ["meshcontrol-ca", "cacerts"] {
        secrets.get(name).await.expect("both are left alone");
    }
}
