//! Certificates from the control plane: a key of our own, a request for a certificate, and its renewal
//! when half of its time is over.
//!
//! They are put into a folder as whoever issues certificates would (`--identity-dir`), from where they
//! are read like any others: a certificate that cannot be used changes nothing. The key never leaves
//! this host.

mod folder;
mod schedule;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use authority::{Key, ask};
use bytes::Bytes;
use config::spiffe::SpiffeId;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, error::Elapsed, sleep, timeout};

use super::Settings;
use super::connect::{ConnectError, Connection, Connector, Messages, Proof, refusal};
use super::replicas::Order;
use crate::protobuf::{Fields, Frames, Malformed, Message};
use crate::telemetry::causes::chain;
use crate::telemetry::metrics::ControlCounters;
use crate::tls::pem;
use folder::{Folder, Issued, KeepError};
use schedule::Term;

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
/// Time over which renewals are spread when authorities change, so that not all ask at once.
const ROOTS_SPREAD: Duration = Duration::from_secs(60);

/// Keeps the certificate of a workload fresh until it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    folder: Folder,
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
    folder: Folder,
    counters: ControlCounters,
    issued: watch::Sender<bool>,
    /// The file of the authorities that vouch for the control plane, and who was in it.
    root: PathBuf,
    believed: Option<Vec<CertificateDer<'static>>>,
    /// When to renew although it is not due.
    renew_at: Option<Instant>,
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
    #[error("what was issued {0}")]
    Certificates(String),
    #[error(transparent)]
    Keep(#[from] KeepError),
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
            Some(state) => (Folder::below(state)?, false),
            None => (Folder::private()?, true),
        };
        let (issued, issued_seen) = watch::channel(false);
        let issuance = Issuance {
            connector: Connector::new(settings, Some(folder.current()), Proof::Token),
            order: Order::default(),
            id,
            lifetime: settings.certificate_lifetime,
            folder: folder.clone(),
            counters,
            issued,
            root: settings.root.clone(),
            believed: None,
            renew_at: None,
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
        self.folder.current()
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
            self.folder.remove();
        }
    }
}

// === impl Issuance ===

impl Issuance {
    async fn run(mut self) {
        let mut term = self.folder.term(&self.id, SystemTime::now());
        if term.is_some() {
            tracing::info!(identity = %self.id, "certificate from before");
            self.issued.send_replace(true);
            if !self.connector.is_vouched(SystemTime::now()) {
                tracing::info!("other authorities since: renewing");
                self.renew_at = Some(Instant::now());
            }
        }
        let mut chance = fastrand::f64();
        loop {
            self.look_at_roots();
            let is_asked = self.renew_at.is_some_and(|at| at <= Instant::now());
            if !is_asked && term.is_some_and(|term| !term.is_due(SystemTime::now(), chance)) {
                sleep(LOOK_INTERVAL).await;
                continue;
            }
            match self.renew().await {
                Ok(renewed) => {
                    (self.said, self.renew_at) = (None, None);
                    self.counters
                        .certificates
                        .with_label_values(&["success"])
                        .inc();
                    tracing::info!(identity = %self.id, "certificate issued");
                    self.issued.send_replace(true);
                    term = Some(renewed);
                    chance = fastrand::f64();
                    // However short it is, nobody is asked without end.
                    sleep(LOOK_INTERVAL).await;
                }
                Err(error) => {
                    self.failed(&error);
                    sleep(self.order.failed(fastrand::f64())).await;
                }
            }
        }
    }

    /// Has the certificate renewed soon if other authorities vouch for the control plane than before:
    /// whom else to believe is told with a certificate.
    fn look_at_roots(&mut self) {
        let Ok(now) = pem::chain(&self.root) else {
            return;
        };
        let before = self.believed.replace(now);
        if before.is_some() && before != self.believed {
            tracing::info!(file = %self.root.display(), "other authorities: renewing soon");
            self.renew_at = Some(Instant::now() + ROOTS_SPREAD.mul_f64(fastrand::f64()));
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

    /// Gets a new certificate from any control plane, and puts it into the folder.
    async fn renew(&mut self) -> Result<Term, IssueError> {
        let targets = self.connector.targets().await?;
        self.order.begin(targets, fastrand::shuffle);
        let mut failed = None;
        while let Some(target) = self.order.next() {
            let issued = match self.connector.connect(&target).await {
                Ok(connection) => self.ask(connection).await,
                Err(error) => Err(error.into()),
            };
            let keep = |issued| self.folder.keep(&issued, &self.id, SystemTime::now());
            match issued.and_then(|issued| Ok(keep(issued)?)) {
                Ok(term) => {
                    self.order.served();
                    return Ok(term);
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
