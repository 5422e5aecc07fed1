//! How endpoints are spoken to below HTTP: what rules say, what the mesh says where they are silent, and
//! what stays the same.

use super::*;

use crate::tls::client::{Belief, Channel, Shut, TlsClient};
use crate::tls::fixture::Authority;
use crate::tls::identity::WorkloadIdentity;

/// One endpoint in the mesh, and one that says nothing of it.
const CART: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints:
  - address: 10.0.0.1
    labels: {app: cart, security.istio.io/tlsMode: istio}
    serviceAccount: cart
  - {address: 10.0.0.2}
";

fn routes() -> &'static str {
    "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: default}
spec:
  hosts: [cart.test]
  http: [{route: [{destination: {host: cart.test}}]}]
"
}

fn rule(tls: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: cart, namespace: shop}}
spec: {{host: cart.test, trafficPolicy: {{tls: {{{tls}}}}}}}
"
    )
}

fn policy(spec: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: shop, namespace: shop}}
spec: {{{spec}}}
"
    )
}

/// Certificates of a workload of `authority`.
fn certificates(authority: &Authority) -> Certificates {
    let folder = tempfile::tempdir().expect("a folder for the test");
    authority.write_identity(folder.path(), |_| ());
    let aliases = ["old.local".to_owned()];
    let identity = WorkloadIdentity::read(folder.path(), &aliases).expect("an identity");
    Certificates::default().with_identity(Arc::new(identity))
}

fn channels(compiler: &mut Compiler, documents: &[&str], with: &Certificates) -> Vec<Channel> {
    let compiled = compiler.plan(&mesh(documents), with).commit();
    let cart = compiled
        .destinations
        .iter()
        .find(|it| &*it.key.host == "cart.test");
    let members = cart.expect("the destination").members();
    members
        .iter()
        .map(|member| member.channel.clone())
        .collect()
}

fn tls(channel: &Channel) -> &Arc<TlsClient> {
    match channel {
        Channel::Tls(tls) => tls,
        Channel::Plain | Channel::Shut(_) => panic!("not in TLS: {channel:?}"),
    }
}

fn names(channel: &Channel) -> Vec<&str> {
    match &tls(channel).terms.belief {
        Belief::Workload {
            expected: names, ..
        }
        | Belief::Host { names, .. } => names.iter().map(|name| &**name).collect(),
        Belief::Anyone => panic!("anyone"),
    }
}

#[test]
fn where_no_rule_speaks_the_mesh_is_spoken_to_in_mutual_tls() {
    let with = certificates(&Authority::new());
    let found = channels(&mut compiler(), &[CART, routes()], &with);

    assert_eq!(
        names(&found[0]),
        [
            "spiffe://cluster.local/ns/shop/sa/cart",
            "spiffe://old.local/ns/shop/sa/cart"
        ]
    );
    let asked = tls(&found[0]).terms.server_name.as_deref();
    assert_eq!(asked, Some("outbound_.80_._.cart.test"));
    assert!(
        matches!(found[1], Channel::Plain),
        "says nothing of a proxy"
    );
}

#[test]
fn what_takes_no_mutual_tls_is_spoken_to_in_plain_text() {
    let identity = certificates(&Authority::new());
    let nobody = Certificates::default();
    let outside = CART.replace("MESH_INTERNAL", "MESH_EXTERNAL");
    let disable = policy("mtls: {mode: DISABLE}");
    let of_port = |port: u16| {
        policy(&format!(
            "selector: {{matchLabels: {{app: cart}}}}, mtls: {{mode: STRICT}}, \
             portLevelMtls: {{{port}: {{mode: DISABLE}}}}"
        ))
    };
    let (here, elsewhere) = (of_port(8080), of_port(80));
    let off = rule("mode: DISABLE");

    for (documents, with, secured) in [
        (vec![CART, routes()], &identity, true),
        (vec![CART, routes()], &nobody, false),
        (vec![&outside, routes()], &identity, false),
        (vec![CART, routes(), &disable], &identity, false),
        (vec![CART, routes(), &here], &identity, false),
        (vec![CART, routes(), &elsewhere], &identity, true),
        (vec![CART, routes(), &off], &identity, false),
    ] {
        let found = channels(&mut compiler(), &documents, with);
        let is_secured = matches!(found[0], Channel::Tls(_));
        assert_eq!(is_secured, secured, "{documents:?}");
    }
}

#[test]
fn what_is_asked_for_and_cannot_be_had_is_shut() {
    let identity = certificates(&Authority::new());
    let nobody = Certificates::default();

    for (tls, with, why) in [
        ("mode: ISTIO_MUTUAL", &nobody, Shut::Identity),
        (
            "mode: SIMPLE, credentialName: a",
            &identity,
            Shut::Credential,
        ),
        ("mode: SIMPLE, caCertificates: /a", &identity, Shut::Files),
        ("mode: SIMPLE", &identity, Shut::Authorities),
        ("mode: SIMPLE, sni: 10.0.0.1", &identity, Shut::ServerName),
        (
            "mode: MUTUAL, clientCertificate: /a, privateKey: /b, insecureSkipVerify: true",
            &identity,
            Shut::Files,
        ),
    ] {
        let rule = rule(tls);
        let found = channels(&mut compiler(), &[CART, routes(), &rule], with);
        for channel in &found {
            assert!(
                matches!(channel, Channel::Shut(it) if *it == why),
                "{tls}: {channel:?}"
            );
        }
    }
}

#[test]
fn identities_that_a_rule_or_the_service_names_are_those_that_count() {
    let with = certificates(&Authority::new());
    let mutual = rule("mode: ISTIO_MUTUAL");
    let named = rule("mode: ISTIO_MUTUAL, sni: a.test, subjectAltNames: ['spiffe://a/b']");
    let of_service = CART.replace(
        "MESH_INTERNAL",
        "MESH_INTERNAL\n  subjectAltNames: ['spiffe://c/d']",
    );
    let unknown = CART.replace("    serviceAccount: cart\n", "");

    let found = channels(&mut compiler(), &[CART, routes(), &named], &with);
    assert_eq!(
        names(&found[1]),
        ["spiffe://a/b"],
        "also outside of the mesh"
    );
    assert_eq!(tls(&found[1]).terms.server_name.as_deref(), Some("a.test"));
    let found = channels(&mut compiler(), &[&of_service, routes(), &mutual], &with);
    assert_eq!(
        names(&found[0]),
        [
            "spiffe://c/d",
            "spiffe://cluster.local/ns/shop/sa/cart",
            "spiffe://old.local/ns/shop/sa/cart"
        ]
    );
    let found = channels(&mut compiler(), &[&unknown, routes(), &mutual], &with);
    assert_eq!(
        names(&found[0]),
        [""; 0],
        "any workload of the trust domain"
    );
}

#[test]
fn channels_follow_policies_and_identities_and_nothing_else() {
    let ours = Authority::new();
    let with = certificates(&ours);
    let mut compiler = compiler();
    let documents = [CART, routes()];
    let mesh = mesh(&documents);
    let mut next = |mesh: &Mesh, with: &Certificates| {
        let compiled = compiler.plan(mesh, with).commit();
        let mut all = compiled.destinations.iter();
        let cart = all.find(|it| &*it.key.host == "cart.test");
        Arc::clone(cart.expect("the destination"))
    };
    let first = next(&mesh, &with);
    let channel = |of: &Destination| of.members()[0].channel.clone();

    let same = next(&mesh, &with);
    assert!(Arc::ptr_eq(&first, &same));

    // A renewed certificate of the same workload: other handshakes, the same connections.
    let renewed = next(&mesh, &certificates(&ours));
    assert!(!Arc::ptr_eq(tls(&channel(&first)), tls(&channel(&renewed))));
    assert_eq!(channel(&first).id(), channel(&renewed).id());

    // Other authorities: other connections.
    let moved = next(&mesh, &certificates(&Authority::new()));
    assert_ne!(channel(&first).id(), channel(&moved).id());
    assert!(
        Arc::ptr_eq(&first.live, &moved.live),
        "what was learned stays"
    );
    assert!(Arc::ptr_eq(
        &first.members()[0].endpoint,
        &moved.members()[0].endpoint
    ));

    // Nothing of the host has changed but what its workload takes.
    let disable = policy("mtls: {mode: DISABLE}");
    let disabled = mesh_with(&mesh, &documents, &disable);
    assert!(matches!(channel(&next(&disabled, &with)), Channel::Plain));
}

/// The next generation of a mesh, with one document more; the others are the same objects.
fn mesh_with(before: &Mesh, documents: &[&str], more: &str) -> Mesh {
    let mut all = documents.to_vec();
    all.push(more);
    let loaded = parse("test.yaml", &all.join("\n---\n"), "default");
    before.next(&loaded.resources)
}
