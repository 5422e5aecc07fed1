//! A pod that runs, and what programs in it get when they call others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tests::client::{empty, request};
use tests::netns::host::Running;
use tests::netns::{Host, Sidecar};
use tests::{Http1, Origin, Reply, eventually};

/// How long a connection may take; one that is captured takes none.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Requests of one look at who answers. That one of two who share them evenly is missing comes about once
/// in half a million looks, and a look can be taken again.
const LOOK_REQUESTS: usize = 20;

/// A running pod; ends when dropped.
#[derive(Debug)]
pub(crate) struct Pod {
    namespace: String,
    name: String,
    host: Host,
    _sidecar: Option<Sidecar>,
    _programs: Vec<Running>,
}

/// What a program in a pod asks for.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) addr: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

// === impl Pod ===

impl Pod {
    pub(crate) fn new(
        namespace: &str,
        name: &str,
        host: Host,
        sidecar: Option<Sidecar>,
        programs: Vec<Running>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            host,
            _sidecar: sidecar,
            _programs: programs,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn addr(&self) -> IpAddr {
        self.host.addr()
    }

    /// A program of the test in this pod, which answers at `port` with the name of the pod.
    pub(crate) fn answering(&self, port: u16) -> Origin {
        let listener = self.host.listen((Ipv4Addr::UNSPECIFIED, port).into());
        Origin::on(listener, &self.name)
    }

    /// It as an endpoint of a slice.
    pub(crate) fn endpoint(&self, is_ready: bool) -> Value {
        json!({
            "addresses": [self.addr()],
            "conditions": {"ready": is_ready, "serving": is_ready, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": self.name},
        })
    }

    /// Who answers so many requests of a program in this pod: names or versions, or statuses where it is not
    /// the service that answers.
    async fn answers(&self, call: &Call, requests: usize) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let Ok(tcp) = self.host.connect(call.addr, CONNECT_MAX).await else {
            return BTreeSet::from(["no connection".to_owned()]);
        };
        let mut client = Http1::over(tcp).await;
        for _ in 0..requests {
            let get = request(Method::GET, &call.host, call.path, call.headers, empty());
            match client.try_send(get).await {
                Ok(reply) => seen.insert(who(&reply)),
                Err(_) => {
                    seen.insert("no answer".to_owned());
                    break;
                }
            };
        }
        seen
    }

    /// Waits until just these answer a program in this pod, all of them, and says since when.
    pub(crate) async fn gets(&self, call: &Call, expected: &[&str]) -> Instant {
        let expected: BTreeSet<String> = expected.iter().map(|&it| it.to_owned()).collect();
        let what = format!(
            "{expected:?} for {}{} in {}",
            call.host, call.path, self.name
        );
        let look = async || self.answers(call, LOOK_REQUESTS).await;
        eventually(&what, look, |seen| *seen == expected).await;
        let since = Instant::now();
        // It was no chance, and nothing comes back.
        let again = self.answers(call, LOOK_REQUESTS).await;
        assert!(again.is_subset(&expected), "{what}: {again:?}");
        since
    }

    /// Waits until `gone` answers a program in this pod no more.
    pub(crate) async fn misses(&self, call: &Call, gone: &str) {
        // One at a time: an address that nobody has may take long.
        let look = async || self.answers(call, 1).await;
        let what = format!("no {gone} for {} in {}", call.host, self.name);
        eventually(&what, look, |seen| !seen.contains(gone)).await;
    }
}

/// What an answer says of who gave it.
fn who(reply: &Reply) -> String {
    let (status, text) = reply.brief();
    if status != 200 {
        return status.to_string();
    }
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    read["version"].as_str().unwrap_or(text).to_owned()
}
