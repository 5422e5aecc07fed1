//! Bookinfo in a cluster, from its manifests to its answers: injected pods that run, and two proxies that
//! follow whatever `kubectl` does.

mod orders;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tests::chart::items;

use crate::install::{Installation, slice};
use crate::pod::{Call, Pod};

/// Where every workload of the example listens.
const PORT: u16 = 9_080;
/// Whose proxies are looked at: the page, which calls reviews, and one of the reviews themselves.
const CALLERS: [&str; 2] = ["productpage-v1-0", "reviews-v1-0"];
/// A user whose requests a scenario sends to a version of their own.
const JASON: &[(&str, &str)] = &[("end-user", "jason")];

/// The application in a cluster.
struct Bookinfo {
    pods: Vec<Pod>,
    installation: Installation,
}

/// A file of the example.
fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

/// The rules of a scenario, in which `reviews` is routed by these weights in place of those it has.
fn weighted(v1: u32, v3: u32) -> String {
    let rules = example("scenarios/90-10.yaml");
    let rules = rules.replace("weight: 90", &format!("weight: {v1}"));
    rules.replace("weight: 10", &format!("weight: {v3}"))
}

// === impl Bookinfo ===

impl Bookinfo {
    /// All of it, as its manifests have it, in a namespace whose pods are injected.
    async fn start() -> Self {
        let installation = Installation::new().await;
        let label = ["label", "namespace", "default", "istio-injection=enabled"];
        installation.kubectl.done(&label, "").await;
        for file in ["kubernetes/bookinfo.yaml", "kubernetes/gateway.yaml"] {
            installation.apply(&example(file)).await;
        }
        let mut pods = Vec::new();
        let get = ["deployments", "-n", "default"];
        let deployments = installation.kubectl.get(&get).await;
        for deployment in items(&deployments["items"]) {
            let name = create(&installation, deployment).await;
            pods.push(installation.run("default", &name).await);
        }
        let bookinfo = Self { pods, installation };
        for service in ["productpage", "details", "reviews", "ratings"] {
            bookinfo.publish(service).await;
        }
        bookinfo
    }

    /// Puts the pods of a service into its slice.
    async fn publish(&self, service: &str) {
        let begin = format!("{service}-");
        let own = self.pods.iter().filter(|it| it.name().starts_with(&begin));
        let endpoints: Vec<Value> = own.map(|pod| pod.endpoint(true)).collect();
        let slice = slice("default", service, PORT, &endpoints);
        self.installation.apply(&slice).await;
    }

    async fn reviews(&self) -> Call {
        let installation = &self.installation;
        installation.call("default", "reviews", "/reviews/0").await
    }

    fn pod(&self, name: &str) -> &Pod {
        let pod = self.pods.iter().find(|pod| pod.name() == name);
        pod.unwrap_or_else(|| panic!("there is no pod {name}"))
    }

    fn callers(&self) -> impl Iterator<Item = &Pod> {
        CALLERS.iter().map(|name| self.pod(name))
    }

    /// Waits until both proxies send a call to just these, and says since when.
    async fn both(&self, call: &Call, expected: &[&str]) -> Instant {
        let [first, second] = CALLERS.map(|name| self.pod(name).gets(call, expected));
        let (first, second) = tokio::join!(first, second);
        first.max(second)
    }

    /// Applies rules, waits until both proxies send a call as they say, and prints how long that took.
    async fn follows(&self, what: &str, rules: &str, call: &Call, expected: &[&str]) {
        let begun = Instant::now();
        self.installation.apply(rules).await;
        let applied = begun.elapsed();
        let followed = self.both(call, expected).await - begun;
        eprintln!(
            "{what}: kubectl was done after {applied:?}, both had followed after {followed:?}"
        );
    }

    /// What the API server has of the rule for `reviews`.
    async fn rule(&self) -> Value {
        let get = ["virtualservice", "-n", "default", "reviews"];
        let rule = self.installation.kubectl.get(&get).await;
        rule["spec"].clone()
    }
}

/// Creates the pod of a deployment, as its controller would, and says its name.
async fn create(installation: &Installation, deployment: &Value) -> String {
    let name = deployment["metadata"]["name"].as_str().expect("a name");
    let name = format!("{name}-0");
    let template = &deployment["spec"]["template"];
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    })
    .to_string();
    let arguments = ["create", "-o", "json", "-f", "-"];
    let created = installation.kubectl.done(&arguments, &pod).await;
    let created: Value = serde_json::from_str(&created).expect("kubectl writes JSON");
    // Which list the proxy is in depends on the version that the API server says it has.
    let lists = ["initContainers", "containers"];
    let containers = lists.iter().flat_map(|it| items(&created["spec"][it]));
    let names: BTreeSet<&str> = containers.filter_map(|it| it["name"].as_str()).collect();
    for injected in ["istio-proxy", "meshproxy-init"] {
        assert!(names.contains(injected), "{injected} is not in {names:?}");
    }
    name
}

#[tokio::test]
async fn bookinfo_runs_as_applied_and_two_proxies_follow_every_edit() {
    let bookinfo = Bookinfo::start().await;
    let reviews = bookinfo.reviews().await;
    let of_jason = Call {
        headers: JASON,
        ..reviews.clone()
    };
    bookinfo.both(&reviews, &["v1", "v2", "v3"]).await;

    edits(&bookinfo, &reviews, &of_jason).await;
    mistakes(&bookinfo, &reviews, &of_jason).await;
    policies(&bookinfo, &reviews).await;
}

/// Weights and headers.
async fn edits(bookinfo: &Bookinfo, reviews: &Call, of_jason: &Call) {
    let rules = weighted(90, 10);
    bookinfo
        .follows("weights", &rules, reviews, &["v1", "v3"])
        .await;
    let rules = weighted(0, 100);
    bookinfo
        .follows("other weights", &rules, reviews, &["v3"])
        .await;
    let rules = example("scenarios/jason-v2.yaml");
    bookinfo.follows("headers", &rules, of_jason, &["v2"]).await;
    bookinfo.both(reviews, &["v1"]).await;

    // The page hands on who asks, so that the choice is made inside of the mesh.
    let page = bookinfo.installation.call("default", "productpage", "");
    let page = Call {
        path: "/api/v1/products/0/reviews",
        headers: JASON,
        ..page.await
    };
    bookinfo.pod("details-v1-0").gets(&page, &["v2"]).await;
}

/// What is wrong is refused in the words of `check`, and changes nothing.
async fn mistakes(bookinfo: &Bookinfo, reviews: &Call, of_jason: &Call) {
    let before = bookinfo.rule().await;
    let right = example("scenarios/jason-v2.yaml");
    for (mistake, told) in [
        (
            right.replace(
                "  http:\n",
                "  http:\n  - timeout: soon\n    route: [{destination: {host: reviews}}]\n",
            ),
            "VirtualService default/reviews: spec.http[0].timeout: must be a duration such as \"1.5s\", \"100ms\" or \"1h\", got \"soon\"",
        ),
        (
            right.replace("subset: v2", "subset: V 2"),
            "VirtualService default/reviews: spec.http[0].route[0].destination.subset: ",
        ),
    ] {
        assert_ne!(mistake, right, "nothing is wrong in it");
        let apply = ["apply", "-n", "default", "-f", "-"];
        let ran = bookinfo.installation.kubectl.run(&apply, &mistake).await;
        assert!(!ran.success, "it was taken: {}", ran.stdout);
        assert!(ran.stderr.contains(told), "{told} is not in {}", ran.stderr);
    }
    assert_eq!(bookinfo.rule().await, before);
    bookinfo.both(reviews, &["v1"]).await;
    bookinfo.both(of_jason, &["v2"]).await;
}

/// Nobody is let in whom the policies of the example do not name, and the named are.
async fn policies(bookinfo: &Bookinfo, reviews: &Call) {
    for file in ["security.yaml", "kubernetes/security.yaml"] {
        bookinfo.installation.apply(&example(file)).await;
    }

    let [page, review] = CALLERS.map(|name| bookinfo.pod(name));
    review.gets(reviews, &["403"]).await;
    page.gets(reviews, &["v1"]).await;
    // In v2 the stars come from ratings, which lets reviews in.
    let of_jason = Call {
        headers: JASON,
        ..reviews.clone()
    };
    page.gets(&of_jason, &["v2"]).await;
    let ratings = bookinfo
        .installation
        .call("default", "ratings", "/ratings/0");
    let ratings = ratings.await;
    bookinfo.pod("details-v1-0").gets(&ratings, &["403"]).await;
}
