//! What `PeerAuthentication` asks for.

use tests::{Http1, Http2, eventually};

use super::*;

#[tokio::test]
async fn without_a_policy_plain_text_and_mutual_tls_are_taken_at_one_port() {
    let workload = Workload::with("").await;

    assert!(is_ok(&workload.get_plain().await));
    assert!(is_ok(&workload.get(&workload.caller()).await));
    let stranger = Authority::new("cluster.local")
        .leaf("default", "shop")
        .sign();
    assert!(workload.get(&stranger).await.is_err());
    assert_eq!(workload.origin.requests(), 2);
    assert_eq!(workload.handshakes("full").await, 1.0);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_agreed_upon_by_any_of_its_names() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let caller = workload.caller();

    for protocols in [&["h2"][..], &["istio-h2", "istio", "h2"], &["istio"], &[]] {
        let tls = caller.connect(workload.port.addr(), protocols).await;
        let mut http2 = Http2::over(tls.expect("a handshake")).await;

        assert_eq!(http2.get("cart", "/").await.brief(), (200, "cart"));
    }
}

#[tokio::test]
async fn ports_have_policies_of_their_own() {
    let (authority, origin) = (Authority::new("cluster.local"), Origin::named("cart").await);
    let identity = authority.identity_dir("default", "cart");
    let [strict, plain, both] = [Port::reserve(), Port::reserve(), Port::reserve()];
    let yaml = sidecar(&[&strict, &plain, &both], &origin)
        + &policy("istio-system/mesh", DISABLE)
        + &policy("default/all", STRICT)
        + &policy(
            "default/cart",
            &format!(
                "{CART}, portLevelMtls: {{'{plain}': {{mode: DISABLE}}, \
                 '{both}': {{mode: PERMISSIVE}}}}"
            ),
        );
    let folder = identity.path().display().to_string();
    let arguments = ["--labels", "app=cart", "--identity-dir", &folder];
    let proxy = Proxy::start_with(&yaml, &arguments).await;
    let caller = authority.leaf("default", "shop").sign();

    for (port, takes_plain, takes_tls) in [
        (&strict, false, true),
        (&plain, true, false),
        (&both, true, true),
    ] {
        let tcp = TcpStream::connect(port.addr()).await.expect("a listener");
        assert_eq!(is_ok(&exchange(tcp, "").await), takes_plain, "{port}");
        let tls = caller.connect(port.addr(), &[]).await;
        let answer = match tls {
            Ok(tls) => exchange(tls, "").await,
            Err(error) => Err(error),
        };
        assert_eq!(is_ok(&answer), takes_tls, "{port}");
    }

    let listeners = proxy.admin("/listeners").await;
    let peers = |port: &Port| {
        let address = port.addr().to_string();
        let all = listeners.as_array().expect("a list").iter();
        let one = all.into_iter().find(|it| it["address"] == address.as_str());
        one.expect("the listener")["peers"].clone()
    };
    assert_eq!(peers(&strict), "STRICT");
    assert_eq!(peers(&plain), serde_json::Value::Null);
    assert_eq!(peers(&both), "PERMISSIVE");
}

#[tokio::test]
async fn the_policy_of_the_workload_wins_over_the_others_and_is_live() {
    let mesh = policy("istio-system/mesh", STRICT);
    let namespace = policy("default/all", DISABLE);
    let cart = policy("default/cart", &format!("{CART}, {PERMISSIVE}"));
    let other = policy(
        "default/other",
        &format!("selector: {{matchLabels: {{app: x}}}}, {STRICT}"),
    );
    let workload = Workload::with(&mesh).await;
    let caller = workload.caller();
    let takes = async || {
        let plain = is_ok(&workload.get_plain().await);
        (plain, is_ok(&workload.get(&caller).await))
    };

    assert_eq!(takes().await, (false, true));
    workload.apply(&(mesh.clone() + &namespace)).await;
    assert_eq!(takes().await, (true, false));
    workload
        .apply(&(mesh.clone() + &namespace + &cart + &other))
        .await;
    assert_eq!(takes().await, (true, true));
    workload.apply(&(mesh + &other)).await;
    assert_eq!(takes().await, (false, true));
}

#[tokio::test]
async fn a_plain_connection_gets_no_further_request_served_once_mutual_tls_is_asked_for() {
    let workload = Workload::with_arguments("", &["--access-log", "json"]).await;
    let mut http1 = Http1::connect(workload.port.addr()).await;
    let mut http2 = Http2::connect(workload.port.addr()).await;
    assert_eq!(http1.get("cart", "/").await.brief(), (200, "cart"));
    assert_eq!(http2.get("cart", "/").await.brief(), (200, "cart"));

    workload.apply(&policy("default/a", STRICT)).await;

    let refused = http1.get("cart", "/").await;
    assert_eq!(refused.brief(), (403, "RBAC: access denied"));
    assert_eq!(refused.header("x-meshproxy-error"), "mutual_tls_required");
    http1.closed().await;
    let refused = http2.get("cart", "/").await;
    assert_eq!(refused.brief(), (403, "RBAC: access denied"));
    assert_eq!(workload.origin.requests(), 2);
    let told = |line: &str| line.contains("mutual_tls_required");
    workload.proxy.stdout.nth(1, "two refusals", told).await;
}

#[tokio::test]
async fn a_connection_in_mutual_tls_goes_on_whatever_the_policy_becomes() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let tls = workload
        .caller()
        .connect(workload.port.addr(), &["h2"])
        .await;
    let mut http2 = Http2::over(tls.expect("a handshake")).await;

    for mode in [STRICT, PERMISSIVE, DISABLE, STRICT] {
        workload.apply(&policy("default/a", mode)).await;

        assert_eq!(
            http2.get("cart", "/").await.brief(),
            (200, "cart"),
            "{mode}"
        );
    }
}

#[tokio::test]
async fn without_an_identity_strict_is_shut_and_permissive_is_plain_text() {
    let (port, origin) = (Port::reserve(), Origin::named("cart").await);
    let sidecar = sidecar(&[&port], &origin);
    let proxy = Proxy::start_with(&sidecar, &["--labels", "app=cart"]).await;
    let get = async || {
        let tcp = TcpStream::connect(port.addr()).await.expect("a listener");
        exchange(tcp, "").await
    };
    assert!(is_ok(&get().await));

    proxy
        .apply(&(sidecar.clone() + &policy("default/a", STRICT)))
        .await;

    let answer = get().await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(origin.requests(), 1);
    let told = |line: &str| line.contains("WARN") && line.contains("--identity-dir");
    proxy.stderr.line("a loud warning", told).await;
    let listeners = proxy.admin("/listeners").await;
    assert_eq!(listeners[0]["shut"], true);
    let labels = [("reason", "no_own_identity")];
    let failures = async || {
        let metrics = proxy.metrics().await;
        metrics.sum("meshproxy_tls_handshake_failures_total", &labels)
    };
    eventually("a refusal", failures, |failures| *failures == 1.0).await;
}

#[tokio::test]
async fn the_workload_hears_who_calls_and_only_from_those_who_proved_it() {
    const XFCC: &str = "x-forwarded-client-cert";
    let workload = Workload::with("").await;
    let claimed = "x-forwarded-client-cert: By=spiffe://a/b;URI=spiffe://c/d\r\n";

    let tls = workload.caller().connect(workload.port.addr(), &[]).await;
    let answer = exchange(tls.expect("a handshake"), claimed).await;

    assert!(is_ok(&answer));
    let heard = workload.origin.last().header(XFCC).to_owned();
    let (first, own) = heard.split_once(',').expect("two elements");
    assert_eq!(first, "By=spiffe://a/b;URI=spiffe://c/d");
    assert!(
        own.starts_with("By=spiffe://cluster.local/ns/default/sa/cart;Hash="),
        "{own}"
    );
    assert!(
        own.ends_with(";URI=spiffe://cluster.local/ns/default/sa/shop"),
        "{own}"
    );

    let tcp = TcpStream::connect(workload.port.addr())
        .await
        .expect("a listener");
    assert!(is_ok(&exchange(tcp, claimed).await));
    assert!(workload.origin.last().headers.get(XFCC).is_none());
}
