//! A proxy that follows the control plane, and one of the same workload that reads files.

use std::net::SocketAddr;
use std::path::Path;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tests::client::get;
use tests::{Gate, Http1, Port, Proxy, eventually};
use tokio::task::JoinSet;

use super::compare;
use super::documents::{Document, one_of};

/// Whom callers see, and what they may ask.
const EXPLAINS: [&str; 2] = ["--explain-from", "127.0.0.0/8"];
/// How long a request may be held: little, as whoever is asked may hang for long.
const HOLDS: [&str; 2] = ["--demand-timeout", "500ms"];
/// What a `Sidecar` may see, beside what tells how far the proxy is.
const EGRESS: [&str; 5] = [
    "'*/*'",
    "'./*'",
    "'./*', 'shop/*'",
    "'*/*.example.com'",
    "'*/a.default.svc.cluster.local', 'default/*'",
];
/// The same of a `Gateway`.
const SERVED: [&str; 4] = ["'*'", "'./*'", "'*.example.com'", "'default/*'"];

/// Where a proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Sidecar,
    Gateway,
}

/// A workload with its proxies.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) role: Role,
    namespace: &'static str,
    app: &'static str,
    /// Where the workload's own requests go, or those of a gateway's clients, and where others' go.
    ports: [Port; 2],
    /// The same of the proxy that reads files.
    others: [Port; 2],
    /// The way to the control plane.
    pub(super) gate: Gate,
    state: TempDir,
    proxy: Option<Proxy>,
}

// === impl Subject ===

impl Subject {
    pub(super) async fn new(
        role: Role,
        namespace: &'static str,
        app: &'static str,
        control: SocketAddr,
    ) -> Self {
        // Listeners are told in the order of their ports, which so is the same.
        let ports = || {
            let mut ports = [Port::reserve(), Port::reserve()];
            ports.sort_by_key(Port::number);
            ports
        };
        Self {
            role,
            namespace,
            app,
            ports: ports(),
            others: ports(),
            gate: Gate::before(control).await,
            state: TempDir::new().expect("a temporary folder can be made"),
            proxy: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.app
    }

    /// The listeners of the workload, and what it sees, at random.
    pub(super) fn listeners(&self, rng: &mut Rng, application: SocketAddr) -> Document {
        let Self {
            namespace,
            app,
            ports: [own, inbound],
            ..
        } = self;
        let lines = match self.role {
            Role::Sidecar => format!(
                "spec:\n  workloadSelector: {{labels: {{app: {app}}}}}\n  ingress:\n  \
                 - port: {{number: {inbound}, name: http, protocol: HTTP}}\n    bind: 127.0.0.1\n    \
                 defaultEndpoint: 127.0.0.1:{}\n  egress:\n  \
                 - port: {{number: {own}, name: http, protocol: HTTP}}\n    bind: 127.0.0.1\n    \
                 captureMode: NONE\n    hosts: ['istio-system/mark.test', {}]",
                application.port(),
                one_of(rng, &EGRESS)
            ),
            Role::Gateway => format!(
                "spec:\n  selector: {{app: {app}}}\n  servers:\n  \
                 - port: {{number: {own}, name: http, protocol: HTTP}}\n    \
                 hosts: ['*/mark.test', {}]",
                one_of(rng, &SERVED)
            ),
        };
        let kind = match self.role {
            Role::Sidecar => "Sidecar",
            Role::Gateway => "Gateway",
        };
        Document::new((kind, namespace, (*app).to_owned()), "", &lines)
    }

    fn arguments(&self) -> Vec<String> {
        let labels = format!("app={}", self.app);
        let named = [
            "--name",
            self.app,
            "--namespace",
            self.namespace,
            "--labels",
        ];
        let all = named.into_iter().chain([labels.as_str()]).chain(EXPLAINS);
        all.map(str::to_owned).collect()
    }

    /// Starts it, with what it was told before.
    pub(super) async fn start(&mut self) {
        let mut arguments = self.arguments();
        let state = self.state.path().to_str().expect("a path of text");
        arguments.extend(["--state-dir", state].map(str::to_owned));
        arguments.extend(HOLDS.map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let url = format!("http://{}", self.gate.addr());
        self.proxy = Some(Proxy::follow(&url, &arguments).await);
    }

    /// Whether it can start without a control plane.
    pub(super) fn has_state(&self) -> bool {
        self.state.path().join("resources.jsonl").exists()
    }

    /// Kills it, and starts it again.
    pub(super) async fn restart(&mut self) {
        let proxy = self.proxy.take().expect("a proxy that runs");
        let process = format!("/proc/{}", proxy.pid());
        proxy.signal(Signal::KILL);
        drop(proxy);
        let is_there = async || is_running(&process);
        eventually("its end", is_there, |there| !there).await;
        self.start().await;
    }

    /// Has it start its program anew.
    pub(super) async fn upgrade(&mut self) {
        self.proxy
            .as_mut()
            .expect("a proxy that runs")
            .upgrade()
            .await;
    }

    /// The proxy of the same workload that reads these documents.
    pub(super) async fn reading(&self, folder: &Path, text: &str) -> Proxy {
        let file = folder.join(format!("{}.yaml", self.app));
        let text = exchanged(text, &self.ports, &self.others);
        std::fs::write(&file, text).expect("a file can be written");
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Proxy::start_from(&file, &arguments).await
    }

    /// What the proxy that follows says of its mesh.
    pub(super) async fn told(&self) -> Value {
        compare::pages(self.proxy.as_ref().expect("a proxy that runs")).await
    }

    /// What the other one says, as if it had the same ports.
    pub(super) async fn read(&self, reading: &Proxy) -> Value {
        self.renumbered(&compare::pages(reading).await)
    }

    /// What the other one says or does, as if it had the same ports.
    pub(super) fn renumbered(&self, said: &Value) -> Value {
        let said = exchanged(&said.to_string(), &self.others, &self.ports);
        serde_json::from_str(&said).expect("JSON, ports aside")
    }

    /// Where requests go in at both proxies, with a name of the place.
    pub(super) fn doors(&self) -> Vec<(&'static str, [SocketAddr; 2])> {
        let at = |which: usize| [self.ports[which].addr(), self.others[which].addr()];
        match self.role {
            Role::Sidecar => vec![("own", at(0)), ("others'", at(1))],
            Role::Gateway => vec![("clients'", at(0))],
        }
    }

    /// Asks for hosts all at once.
    pub(super) async fn ask_for_all(&self, hosts: &[&str]) {
        let mut asking = JoinSet::new();
        for host in hosts {
            asking.spawn(ask(self.ports[0].addr(), (*host).to_owned()));
        }
        asking.join_all().await;
    }

    /// Asks for a host as the workload does, whatever becomes of it.
    pub(super) async fn ask(&self, host: &str) {
        ask(self.ports[0].addr(), host.to_owned()).await;
    }
}

async fn ask(addr: SocketAddr, host: String) {
    // It may not listen yet, or be on its way out.
    if let Ok(mut client) = Http1::try_connect(addr).await {
        let _ = client.try_send(get(&host, "/")).await;
    }
}

/// One that has ended and that nobody waited for is there, but does not run.
fn is_running(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|it| it.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A text with ports in the places of others. None is a part of another: all have five digits.
fn exchanged(text: &str, from: &[Port; 2], to: &[Port; 2]) -> String {
    let pairs = from.iter().zip(to);
    pairs.fold(text.to_owned(), |text, (from, to)| {
        text.replace(&from.to_string(), &to.to_string())
    })
}
