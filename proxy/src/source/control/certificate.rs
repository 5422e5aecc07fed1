//! Certificates from the control plane: a key of our own, a request for a certificate, and its renewal
//! when half of its time is over.
//!
//! They are put into a folder as whoever issues certificates would (`--identity-dir`), from where they
//! are read like any others: a certificate that cannot be used changes nothing. The key never leaves
//! this host.

mod schedule;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use authority::{Key, ask};
use bytes::Bytes;
use config::spiffe::SpiffeId;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{error::Elapsed, sleep, timeout};

use super::connect::{ConnectError, Connection, Connector, Messages, refusal};
use super::replicas::Order;
use super::{Settings, disk};
use crate::protobuf::{Fields, Frames, Malformed, Message};
use crate::telemetry::causes::chain;
use crate::telemetry::metrics::ControlCounters;
use crate::tls::identity::{IdentityError, WorkloadIdentity};
use crate::tls::pem;
pub(crate) use schedule::Term;

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// Fields of `IstioCertificateRequest` and of its response.
const CSR: u32 = 1;
const VALIDITY: u32 = 3;
const CHAIN: u32 = 1;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most certificates of a chain.
const CHAIN_MAX: usize = 16;
/// Time between two looks at the clock, which may be moved while we sleep.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Folder below that of `--state-dir`.
const FOLDER: &str = "identity";
/// A link in it to the folder of what was issued last, so that all of it changes in one step.
const CURRENT: &str = "current";
/// Only the owner looks into it.
const FOLDER_MODE: u32 = 0o700;

/// Keeps the certificate of a workload fresh until it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    folder: PathBuf,
    /// Removed at the end if nothing is to be kept.
    temporary: bool,
    issued: watch::Receiver<bool>,
    task: AbortHandle,
}

/// The task that does so.
struct Issuance {
    connector: Connector,
    order: Order,
    id: SpiffeId,
    lifetime: Duration,
    folder: PathBuf,
    counters: ControlCounters,
    issued: watch::Sender<bool>,
    /// What was said last of a failure.
    said: Option<String>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("make a key")]
    Key(#[from] authority::KeyError),
    #[error(transparent)]
    Ask(#[from] authority::AskError),
    #[error("no answer in time")]
    Timeout(#[from] Elapsed),
    #[error("receive")]
    Receive(#[from] hyper::Error),
    #[error("the answer is none")]
    Malformed(#[from] Malformed),
    #[error("the answer has {0} parts, and not 2 to {CHAIN_MAX}")]
    Parts(usize),
    #[error("{}: write", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("what was issued cannot be used")]
    Unusable(#[from] IdentityError),
    #[error("what was issued {0}")]
    Certificates(String),
    #[error("what was issued is for {0}")]
    Foreign(SpiffeId),
    #[error("what was issued is not valid now")]
    Dates,
}

/// What was issued, as PEM.
struct Issued {
    chain: String,
    key: String,
    roots: String,
}

// === impl Keeper ===

impl Keeper {
    /// Begins to keep a certificate for `id`.
    ///
    /// # Errors
    ///
    /// If there is no folder for it.
    pub(crate) fn start(
        settings: &Settings,
        id: SpiffeId,
        counters: ControlCounters,
    ) -> io::Result<Self> {
        let (folder, temporary) = match &settings.state_dir {
            Some(state) => (state.join(FOLDER), false),
            None => (private_folder()?, true),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&folder)?;
        let (issued, issued_seen) = watch::channel(false);
        let issuance = Issuance {
            connector: Connector::new(settings, Some(folder.join(CURRENT))),
            order: Order::default(),
            id,
            lifetime: settings.certificate_lifetime,
            folder: folder.clone(),
            counters,
            issued,
            said: None,
        };
        let task = tokio::spawn(issuance.run()).abort_handle();
        Ok(Self {
            folder,
            temporary,
            issued: issued_seen,
            task,
        })
    }

    /// Where the certificates are.
    pub(crate) fn identity_dir(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// Waits for the first certificate.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub(crate) async fn ready(&mut self) {
        if self.issued.wait_for(|issued| *issued).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
        if self.temporary {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A folder that nobody else looks into, for as long as the process runs.
fn private_folder() -> io::Result<PathBuf> {
    let name = format!(
        "meshproxy-{}-{:016x}",
        std::process::id(),
        fastrand::u64(..)
    );
    let folder = std::env::temp_dir().join(name);
    // Fails if it exists: whoever made it first could look into it.
    DirBuilder::new().mode(FOLDER_MODE).create(&folder)?;
    Ok(folder)
}

// === impl Issuance ===

impl Issuance {
    async fn run(mut self) {
        let mut term = self.term();
        if term.is_some() {
            tracing::info!(identity = %self.id, "certificate from before");
            self.issued.send_replace(true);
        }
        let mut chance = fastrand::f64();
        loop {
            if term.is_some_and(|term| !term.is_due(SystemTime::now(), chance)) {
                sleep(LOOK_INTERVAL).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => {
                    self.said = None;
                    self.counters
                        .certificates
                        .with_label_values(&["success"])
                        .inc();
                    tracing::info!(identity = %self.id, "certificate issued");
                    self.issued.send_replace(true);
                    term = self.term();
                    chance = fastrand::f64();
                }
                Err(error) => {
                    self.failed(&error);
                    sleep(self.order.failed(fastrand::f64())).await;
                }
            }
        }
    }

    fn failed(&mut self, error: &IssueError) {
        self.counters
            .certificates
            .with_label_values(&["failure"])
            .inc();
        let error = chain(error);
        match self.said.as_ref() == Some(&error) {
            false => tracing::warn!(identity = %self.id, error, "no certificate; trying again"),
            true => tracing::debug!(identity = %self.id, error, "no certificate"),
        }
        self.said = Some(error);
    }

    /// When the certificate in the folder is valid; none if there is none that can be used.
    fn term(&self) -> Option<Term> {
        let identity = WorkloadIdentity::read(&self.folder.join(CURRENT), &[]).ok()?;
        let now = SystemTime::now();
        let is_usable = identity.id == self.id
            && identity.is_valid_at(now)
            && identity.check_vouched(now).is_ok();
        is_usable.then(|| Term::of(identity.facts.first()))?
    }

    /// Gets a new certificate from any control plane, and puts it into the folder.
    async fn renew(&mut self) -> Result<(), IssueError> {
        let targets = self.connector.targets().await?;
        self.order.begin(targets, fastrand::shuffle);
        let mut failed = None;
        while let Some(target) = self.order.next() {
            let issued = match self.connector.connect(&target).await {
                Ok(connection) => self.ask(connection).await,
                Err(error) => Err(error.into()),
            };
            match issued.and_then(|issued| self.keep(&issued)) {
                Ok(()) => {
                    self.order.served();
                    return Ok(());
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(IssueError::Parts(0)))
    }

    async fn ask(&self, mut connection: Connection) -> Result<Issued, IssueError> {
        let key = Key::generate()?;
        let mut request = Message::default();
        request.text(CSR, &ask(&self.id, &key)?);
        request.number(VALIDITY, self.lifetime.as_secs());
        let (sender, messages) = Messages::channel();
        // There is room for one; its end is that of the call.
        let _ = sender.try_send(request.framed());
        drop(sender);
        let body = self.connector.call(&mut connection, PATH, messages);
        let answer = timeout(ANSWER_TIMEOUT, async { receive(body.await?).await }).await??;
        let mut parts = parts(&answer)?;
        let count = parts.len();
        let roots = match parts.pop() {
            Some(roots) if (2..=CHAIN_MAX).contains(&count) => roots,
            Some(_) | None => return Err(IssueError::Parts(count)),
        };
        Ok(Issued {
            chain: parts.join("\n"),
            key: key.to_pem(),
            roots,
        })
    }

    /// Tries what was issued, and puts it in the place of what there is.
    fn keep(&self, issued: &Issued) -> Result<(), IssueError> {
        let name = format!("{:016x}", fastrand::u64(..));
        let new = self.folder.join(&name);
        let kept = self.write(&new, issued).and_then(|()| {
            self.check(&new)?;
            self.point_to(&name)
                .map_err(|source| IssueError::Write(self.folder.join(CURRENT), source))
        });
        match kept {
            Ok(()) => self.clear(&name),
            Err(_) => drop(fs::remove_dir_all(&new)),
        }
        kept
    }

    fn write(&self, folder: &Path, issued: &Issued) -> Result<(), IssueError> {
        let made = DirBuilder::new().mode(FOLDER_MODE).create(folder);
        made.map_err(|source| IssueError::Write(folder.to_owned(), source))?;
        let texts = [&issued.chain, &issued.key, &issued.roots];
        for (path, text) in WorkloadIdentity::files(folder).into_iter().zip(texts) {
            let written = disk::replace(&path, text);
            written.map_err(|source| IssueError::Write(path.clone(), source))?;
        }
        Ok(())
    }

    /// Has the link lead to a folder from now on.
    fn point_to(&self, name: &str) -> io::Result<()> {
        let link = self.folder.join(format!("{CURRENT}.{name}"));
        symlink(name, &link)?;
        fs::rename(&link, self.folder.join(CURRENT))
    }

    /// Removes what was issued before. What cannot be removed is of no account: it is as secret.
    fn clear(&self, kept: &str) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in
            entries.filter(|entry| entry.file_name() != kept && entry.file_name() != CURRENT)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }

    fn check(&self, folder: &Path) -> Result<(), IssueError> {
        let identity = WorkloadIdentity::read(folder, &[])?;
        if identity.id != self.id {
            return Err(IssueError::Foreign(identity.id));
        }
        let now = SystemTime::now();
        if !identity.is_valid_at(now) {
            return Err(IssueError::Dates);
        }
        Ok(identity.check_vouched(now)?)
    }
}

/// The only message of an answer.
async fn receive(mut body: Incoming) -> Result<Bytes, IssueError> {
    let mut frames = Frames::new(ANSWER_BYTES_MAX);
    let mut message = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                frames.push(&data);
                if let Some(received) = frames.next()? {
                    message = Some(received);
                }
            }
            Err(frame) => {
                if let Some(trailers) = frame.trailers_ref() {
                    refusal(trailers)?;
                }
            }
        }
    }
    message.ok_or(IssueError::Malformed(Malformed))
}

/// The certificates of an answer.
fn parts(answer: &[u8]) -> Result<Vec<String>, IssueError> {
    let mut parts = Vec::new();
    let mut fields = Fields::of(answer);
    while let Some((field, value)) = fields.next()? {
        if field == CHAIN {
            let text = value.text()?;
            // What is no certificate is told as such, and not as a file that nobody knows.
            pem::chain_in(text.as_bytes()).map_err(IssueError::Certificates)?;
            parts.push(text.to_owned());
        }
        if parts.len() > CHAIN_MAX {
            return Err(IssueError::Parts(parts.len()));
        }
    }
    Ok(parts)
}
