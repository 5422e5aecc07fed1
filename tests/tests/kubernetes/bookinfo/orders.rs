//! What is deleted and made anew, in whatever order, leaves both proxies as the resources that there are
//! say.

use serde_json::Value;

use super::*;
use crate::install::Installation;

/// Parts of the rules of a scenario.
fn documents(kind: &str) -> String {
    let rules = example("scenarios/jason-v2.yaml");
    let kind = format!("kind: {kind}\n");
    let document = rules.split("---\n").find(|it| it.contains(&kind));
    document.expect("the scenario has it").to_owned()
}

/// The Service of `reviews` as the manifests have it.
fn service() -> String {
    let manifests = example("kubernetes/bookinfo.yaml");
    let is_service = |it: &&str| it.contains("kind: Service\n") && it.contains("  name: reviews\n");
    let document = manifests.split("---\n").find(is_service);
    document.expect("the manifests have it").to_owned()
}

impl Bookinfo {
    async fn delete(&self, kind: &str, name: &str) {
        let delete = ["delete", "-n", "default", kind, name];
        self.installation.kubectl.done(&delete, "").await;
    }
}

#[tokio::test]
async fn both_proxies_are_right_in_whatever_order_things_are_deleted_and_made_anew() {
    let bookinfo = Bookinfo::start().await;
    bookinfo
        .installation
        .apply(&documents("VirtualService"))
        .await;
    let reviews = bookinfo.reviews().await;
    // Versions are asked for that nobody has told apart yet.
    bookinfo.both(&reviews, &["503"]).await;
    bookinfo
        .installation
        .apply(&documents("DestinationRule"))
        .await;
    bookinfo.both(&reviews, &["v1"]).await;

    one_by_one(&bookinfo, &reviews).await;
    together(&bookinfo).await;
    namespace(&bookinfo).await;
}

/// A rule that goes takes with it what it said, and nothing else.
async fn one_by_one(bookinfo: &Bookinfo, reviews: &Call) {
    bookinfo.delete("virtualservice", "reviews").await;
    bookinfo.both(reviews, &["v1", "v2", "v3"]).await;
    bookinfo.delete("destinationrule", "reviews").await;
    bookinfo
        .installation
        .apply(&documents("VirtualService"))
        .await;
    bookinfo.both(reviews, &["503"]).await;

    // A version that comes later than who asks for it.
    let route = documents("VirtualService").replace("subset: v1", "subset: late");
    bookinfo.installation.apply(&route).await;
    bookinfo
        .installation
        .apply(&documents("DestinationRule"))
        .await;
    bookinfo.both(reviews, &["503"]).await;
    let subset = "  subsets:\n  - name: late\n    labels:\n      version: v3\n";
    let rule = documents("DestinationRule").replace("  subsets:\n", subset);
    bookinfo.installation.apply(&rule).await;
    bookinfo.both(reviews, &["v3"]).await;
}

/// Everything goes and comes back, each time in another order.
async fn together(bookinfo: &Bookinfo) {
    let kinds = ["virtualservice", "destinationrule", "service"];
    let made = [
        documents("VirtualService"),
        documents("DestinationRule"),
        service(),
    ];
    for (gone, back) in [
        ([2, 0, 1], [0, 1, 2]),
        ([1, 2, 0], [2, 1, 0]),
        ([0, 2, 1], [1, 0, 2]),
        ([2, 1, 0], [0, 2, 1]),
    ] {
        for kind in gone {
            bookinfo.delete(kinds[kind], "reviews").await;
        }
        for kind in back {
            bookinfo.installation.apply(&made[kind]).await;
        }
        // A Service that is made anew has another address.
        let reviews = bookinfo.reviews().await;
        bookinfo.both(&reviews, &["v1"]).await;
        let of_jason = Call {
            headers: JASON,
            ..reviews
        };
        bookinfo.both(&of_jason, &["v2"]).await;
    }
}

/// A service in a namespace of its own, whose only endpoint is that of `ratings`.
async fn stars(bookinfo: &Bookinfo) -> Call {
    let installation = &bookinfo.installation;
    installation.cluster.create_namespace("stars").await;
    let service = "
apiVersion: v1
kind: Service
metadata: {name: stars, namespace: stars}
spec: {ports: [{name: http, port: 9080}]}
";
    installation.kubectl.apply(service).await;
    let mut endpoint = bookinfo.pod("ratings-v1-0").endpoint(true);
    endpoint["targetRef"] = Value::Null;
    let slice = slice("stars", "stars", PORT, &[endpoint]);
    installation.kubectl.apply(&slice).await;
    installation.call("stars", "stars", "/health").await
}

/// A namespace goes with what is in it, and comes back.
async fn namespace(bookinfo: &Bookinfo) {
    const HEALTHY: &str = "{\"status\":\"ratings is healthy\"}";
    let call = stars(bookinfo).await;
    bookinfo.both(&call, &[HEALTHY]).await;

    remove_namespace(&bookinfo.installation, "stars").await;
    for pod in bookinfo.callers() {
        pod.misses(&call, HEALTHY).await;
    }
    let again = stars(bookinfo).await;
    bookinfo.both(&again, &[HEALTHY]).await;
}

/// Does what the controller of namespaces does: deletes what is in it, and then lets it go.
async fn remove_namespace(installation: &Installation, name: &str) {
    let kubectl = &installation.kubectl;
    let delete = ["delete", "namespace", name, "--wait=false"];
    kubectl.done(&delete, "").await;
    let kinds = "endpointslices,services,serviceaccounts,configmaps";
    let delete = ["delete", kinds, "-n", name, "--all"];
    kubectl.done(&delete, "").await;
    let mut namespace = kubectl.get(&["namespace", name]).await;
    namespace["spec"]["finalizers"] = Value::Array(Vec::new());
    let path = format!("/api/v1/namespaces/{name}/finalize");
    let finalize = ["replace", "--raw", &path, "-f", "-"];
    kubectl.done(&finalize, &namespace.to_string()).await;
}
