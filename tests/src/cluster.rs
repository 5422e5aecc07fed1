//! A Kubernetes API server with its etcd: real ones, as `tests/install-kubernetes` obtains them.
//!
//! There is no more of a cluster than that: nobody starts pods, fills endpoint slices or deletes what
//! is in a namespace that goes. A test does what it needs of it itself.
//!
//! One cluster is shared by all scenarios of a test binary, as a start takes seconds; each has
//! namespaces of its own. Whoever stops servers starts a cluster of its own.

mod account;
pub(crate) mod binaries;
mod etcd;
mod kubeconfig;
mod kubectl;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Config};
use rcgen::KeyPair;
use rustix::process::Signal;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::Port;
use crate::tls::Certificate;
use kubeconfig::Kubeconfig;
use server::{Folder, Server};

pub use kubectl::Kubectl;

/// Token of the user who may do everything.
const ADMIN_TOKEN: &str = "token-of-the-admin-of-a-test";
/// How long a start may take: an API server on a busy machine has much to set up.
const START_MAX: Duration = Duration::from_secs(180);
/// Time between two looks at whether it has started.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// An API server and its etcd; ended when dropped, and in any case with the process of the test.
#[derive(Debug)]
pub struct Cluster {
    api: Option<Server>,
    etcd: Option<Server>,
    api_port: Port,
    etcd_port: Port,
    certificate: Certificate,
    /// More arguments of the API server.
    more: Vec<String>,
    /// Last, so that it goes after those that write to it.
    folder: Folder,
}

// === impl Cluster ===

impl Cluster {
    /// The cluster that the scenarios of this process share.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it does not start, with the end of its log.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one whose API server has more arguments.
    ///
    /// # Panics
    ///
    /// If it does not start, with the end of its log.
    pub async fn start_with(more: &[&str]) -> Self {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let write = |name: &str, text: &str| {
            fs::write(path.join(name), text).expect("a temporary file can be written");
        };
        let accounts = KeyPair::generate().expect("a key");
        write("accounts.key", &accounts.serialize_pem());
        write("accounts.pub", &accounts.public_key_pem());
        write(
            "tokens.csv",
            &format!("{ADMIN_TOKEN},admin,1,system:masters\n"),
        );
        let mut cluster = Self {
            api: None,
            etcd: None,
            api_port: Port::reserve(),
            etcd_port: Port::reserve(),
            certificate: Certificate::of(&["127.0.0.1", "localhost"]),
            more: more.iter().map(|&it| it.to_owned()).collect(),
            folder,
        };
        write("admin.yaml", &cluster.kubeconfig(ADMIN_TOKEN).text());
        cluster.start_etcd();
        cluster.start_api().await;
        cluster
    }

    /// Starts etcd, with the data that it had before.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_etcd(&mut self) {
        let client = format!("http://{}", self.etcd_port.addr());
        let arguments = [
            format!("--data-dir={}", self.folder.path().join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
            "--socket-reuse-port=true".to_owned(),
            "--unsafe-no-fsync=true".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        self.etcd = Some(self.folder.start("etcd", &arguments));
    }

    /// Starts the API server and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_api(&mut self) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers=http://{}", self.etcd_port.addr()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.api_port),
            // The port is held while the server is away.
            "--permit-port-sharing=true".to_owned(),
            "--permit-address-sharing=true".to_owned(),
            format!("--tls-cert-file={}", self.certificate.file().display()),
            format!(
                "--tls-private-key-file={}",
                self.certificate.key_file().display()
            ),
            format!("--cert-dir={}", file("certs")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
            format!("--service-account-key-file={}", file("accounts.pub")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--enable-priority-and-fairness=false".to_owned(),
            // Services have no addresses here: webhooks are reached at their endpoints.
            "--enable-aggregator-routing=true".to_owned(),
            "--profiling=false".to_owned(),
        ];
        let arguments = [&arguments[..], &self.more].concat();
        let server = self.folder.start("kube-apiserver", &arguments);
        self.api = Some(server);
        self.ready().await;
    }

    /// Ends the API server at once, as a crash does.
    pub fn kill_api(&mut self) {
        self.api = None;
    }

    /// Has the API server do nothing: connections stay, and new ones are taken by the kernel alone.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn hang_api(&self) {
        self.signal_api(Signal::STOP);
    }

    /// Has it go on.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn wake_api(&self) {
        self.signal_api(Signal::CONT);
    }

    fn signal_api(&self, signal: Signal) {
        self.api.as_ref().expect("it was started").signal(signal);
    }

    /// Ends etcd at once; its data stay.
    pub fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// Forgets the history of all objects: a watch that was cut off cannot go on.
    ///
    /// # Panics
    ///
    /// If etcd refuses.
    pub async fn compact(&self) {
        etcd::compact(self.etcd_port.addr()).await;
    }

    /// A kubeconfig of the user who may do everything.
    pub fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.yaml")
    }

    /// A client of that user, for the runtime that this is called in.
    ///
    /// # Panics
    ///
    /// If there can be none.
    pub async fn client(&self) -> Client {
        self.kubeconfig(ADMIN_TOKEN).client().await
    }

    /// `kubectl` of that user.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.admin(), self.folder.path())
    }

    /// A new namespace whose name begins with `purpose`, with its default service account.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn namespace(&self, purpose: &str) -> String {
        let name = format!("{purpose}-{:06x}", fastrand::u32(..0x100_0000));
        self.create_namespace(&name).await;
        name
    }

    /// A namespace of this name, with its default service account.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn create_namespace(&self, name: &str) {
        let client = self.client().await;
        let namespace = Namespace {
            metadata: named(name),
            ..Namespace::default()
        };
        let namespaces = Api::<Namespace>::all(client);
        let made = namespaces.create(&PostParams::default(), &namespace).await;
        made.expect("a namespace can be made");
        self.account(name, "default").await;
    }

    /// A kubeconfig of the user who may do everything, for another address of the API server: one that a
    /// test has put before it.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn admin_at(&self, addr: std::net::SocketAddr) -> PathBuf {
        let path = self
            .folder
            .path()
            .join(format!("admin-at-{}.yaml", addr.port()));
        let mut kubeconfig = self.kubeconfig(ADMIN_TOKEN);
        kubeconfig.addr = addr;
        fs::write(&path, kubeconfig.text()).expect("a temporary file can be written");
        path
    }

    /// A kubeconfig of this cluster for another address of the API server.
    ///
    /// # Panics
    ///
    /// If it cannot be read or written.
    pub fn kubeconfig_at(&self, kubeconfig: &Path, addr: std::net::SocketAddr) -> PathBuf {
        let text = fs::read_to_string(kubeconfig).expect("a kubeconfig of ours");
        let path = kubeconfig.with_extension(format!("at-{}.yaml", addr.port()));
        let (from, to) = (self.api_addr().to_string(), addr.to_string());
        fs::write(&path, text.replace(&from, &to)).expect("a temporary file can be written");
        path
    }

    /// Where the API server listens.
    pub fn api_addr(&self) -> std::net::SocketAddr {
        self.api_port.addr()
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn kubeconfig(&self, token: &str) -> Kubeconfig {
        Kubeconfig {
            addr: self.api_port.addr(),
            authority: self.certificate.file(),
            token: token.to_owned(),
        }
    }

    async fn ready(&self) {
        let end = Instant::now() + START_MAX;
        let mut config = self.kubeconfig(ADMIN_TOKEN).config().await;
        config.default_retry = false;
        loop {
            let client = Client::try_from(Config::clone(&config)).expect("a client");
            let request = http::Request::get("/readyz").body(Vec::new());
            let request = request.expect("a request");
            let answer = timeout(Duration::from_secs(5), client.request_text(request)).await;
            if matches!(answer, Ok(Ok(_))) {
                return;
            }
            let is_late = Instant::now() > end;
            let servers = [("kube-apiserver", &self.api), ("etcd", &self.etcd)];
            for (name, server) in servers {
                let runs = server.as_ref().is_some_and(Server::runs);
                assert!(
                    runs && !is_late,
                    "{name} does not become ready, runs: {runs}, last answer: {answer:?}\n{}",
                    self.folder.log(name)
                );
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}
