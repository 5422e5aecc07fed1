//! What the API server asks before it stores an object: whether a resource is right, and how a pod is
//! injected.
//!
//! Both answer no where something goes wrong here, with the reason. Who is asked for which objects, and
//! what happens when nobody answers, is for the webhook configurations of the chart to say: pods are
//! only asked for where they or their namespace want a proxy, so that "no" never stops others.
//!
//! Everybody who reaches the port may ask. Nothing is told but what follows from the question and the
//! template; what a question costs is bounded.

pub mod bundle;
mod counters;
mod injection;
mod patch;
mod review;
#[cfg(test)]
mod tests;
mod validation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use kube::Client;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::inject::{self, Injector};
use crate::limit::{Limiter, Rate};
pub use counters::Counters;
use review::{Answer, Asked, Verdict, cut};

/// Where resources are judged.
pub const VALIDATE: &str = "/validate";
/// Where pods are injected.
pub const INJECT: &str = "/inject";

/// Largest review: an update carries the object twice, and API servers store none above 1.5 MiB.
const REVIEW_BYTES_MAX: usize = 4 << 20;
/// Reviews that are read at the same time; others wait. With the bound of one this is 128 MiB at most.
const READING_MAX: usize = 32;
/// Reviews that are judged at the same time. What a review is parsed to takes about 16 times its bytes
/// in the worst case, so this is 128 MiB at most.
const JUDGED_MAX: usize = 2;
/// Longest wait for a place and the question; API servers wait for 10 s if not told otherwise.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the question once there is a place: API servers send it at once, and whoever does
/// not takes a place from others.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for the version of the API server, which is taken for a new one if it does not tell.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines about refusals in the log; all are counted. Everybody who reaches the port can cause them.
const LINES: Rate = Rate {
    burst: 100,
    every: Duration::from_millis(200),
};
/// Most characters of what a question says, in the log, and of the reason.
const LOGGED_CHARS_MAX: usize = 256;
const REASON_CHARS_MAX: usize = 2_048;

/// Answers reviews. Clones are cheap and share all limits.
#[derive(Debug, Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    injector: Injector,
    counters: Counters,
    reading: Semaphore,
    judging: Arc<Semaphore>,
    lines: Limiter<()>,
}

/// Which of the two questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Webhook {
    Validate,
    Inject,
}

/// Why a question was not understood.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("too many reviews are under way")]
    Busy,
    #[error("the review was not sent in time, or is larger than {} MiB", REVIEW_BYTES_MAX >> 20)]
    Body,
    #[error("is no AdmissionReview of admission.k8s.io/v1: {0}")]
    Malformed(String),
    #[error("the review could not be read")]
    Failed,
}

// === impl Router ===

impl Router {
    /// A router that injects by `injector` and counts in `counters`.
    pub fn new(injector: Injector, counters: Counters) -> Self {
        Self {
            shared: Arc::new(Shared {
                injector,
                counters,
                reading: Semaphore::new(READING_MAX),
                judging: Arc::new(Semaphore::new(JUDGED_MAX)),
                lines: Limiter::new(LINES, 1),
            }),
        }
    }

    /// A router that injects what stands in a folder, into pods of the cluster that `client` is of.
    ///
    /// # Errors
    ///
    /// If template or settings cannot be read, or `registry` has metrics of the same name.
    pub async fn for_cluster(
        client: &Client,
        injection_dir: &Path,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let mut injector = inject::injector_in(injection_dir)?;
        let version = &mut injector.settings.kubernetes_version;
        if version.is_none() {
            match timeout(VERSION_TIMEOUT, client.apiserver_version()).await {
                Ok(Ok(info)) => *version = Some(info.git_version),
                Ok(Err(error)) => warn!(%error, "the API server does not tell its version"),
                Err(_) => warn!("the API server does not tell its version in time"),
            }
        }
        Ok(Self::new(injector, Counters::new(registry)?))
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    ///
    /// A dropped future gives its places back at once, except that what is being judged is judged to
    /// its end.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let webhook = match request.uri().path() {
            VALIDATE => Webhook::Validate,
            INJECT => Webhook::Inject,
            _ => return plain(StatusCode::NOT_FOUND, "nothing is here\n"),
        };
        if request.method() != Method::POST {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST is understood\n");
            let post = HeaderValue::from_static("POST");
            response.headers_mut().insert(ALLOW, post);
            return response;
        }
        match self.judge(webhook, request.into_body()).await {
            Ok(answer) => json(StatusCode::OK, answer.body()),
            Err(error) => {
                self.shared.counters.unread(webhook);
                if self.shared.may_log() {
                    let error = cut(&error.to_string(), REASON_CHARS_MAX);
                    info!(
                        webhook = webhook.name(),
                        error, "a review was not understood"
                    );
                }
                let status = match error {
                    Unread::Busy => StatusCode::SERVICE_UNAVAILABLE,
                    Unread::Body => StatusCode::PAYLOAD_TOO_LARGE,
                    Unread::Malformed(_) => StatusCode::BAD_REQUEST,
                    Unread::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                };
                json(
                    status,
                    Answer::refusal(String::new(), error.to_string()).body(),
                )
            }
        }
    }

    async fn judge<B>(&self, webhook: Webhook, body: B) -> Result<Answer, Unread>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let read = async {
            let place = self.shared.reading.acquire().await;
            let _place = place.map_err(|_| Unread::Busy)?;
            let body = Limited::new(body, REVIEW_BYTES_MAX).collect();
            let body = timeout(BODY_TIMEOUT, body).await;
            let body = body.map_err(|_| Unread::Body)?;
            let bytes = body.map_err(|_| Unread::Body)?.to_bytes();
            let judging = Arc::clone(&self.shared.judging).acquire_owned().await;
            Ok((bytes, judging.map_err(|_| Unread::Busy)?))
        };
        let (bytes, judging) = timeout(READ_TIMEOUT, read)
            .await
            .unwrap_or(Err(Unread::Body))?;
        let shared = Arc::clone(&self.shared);
        // A thread of its own: large objects take long. The place is kept until all is done, also if
        // nobody waits for it any more.
        let judged = tokio::task::spawn_blocking(move || {
            let _judging = judging;
            shared.judge(webhook, &bytes)
        });
        judged.await.unwrap_or_else(|error| {
            warn!(webhook = webhook.name(), %error, "a review could not be read");
            Err(Unread::Failed)
        })
    }
}

// === impl Shared ===

impl Shared {
    fn judge(&self, webhook: Webhook, bytes: &[u8]) -> Result<Answer, Unread> {
        let asked = Asked::parse(bytes).map_err(Unread::Malformed)?;
        let verdict = safely(webhook, || match webhook {
            Webhook::Validate => validation::judge(&asked),
            Webhook::Inject => injection::judge(&asked, &self.injector),
        });
        self.counters.judged(webhook, &verdict);
        if let Verdict::Refused { message, .. } = &verdict
            && self.may_log()
        {
            info!(
                webhook = webhook.name(),
                kind = cut(&asked.kind, LOGGED_CHARS_MAX),
                namespace = cut(&asked.namespace, LOGGED_CHARS_MAX),
                name = cut(&asked.name, LOGGED_CHARS_MAX),
                user = cut(&asked.user, LOGGED_CHARS_MAX),
                reason = cut(message, REASON_CHARS_MAX),
                "refused"
            );
        }
        Ok(Answer {
            uid: asked.uid,
            verdict,
        })
    }

    /// Whether one more line about a refusal may be logged.
    fn may_log(&self) -> bool {
        self.lines.admit((), Instant::now()).is_ok()
    }
}

// === impl Webhook ===

impl Webhook {
    fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Inject => "inject",
        }
    }
}

/// The verdict, or "no" where finding it ends in a mistake of ours: what was not judged must not pass,
/// whatever the webhook's configuration makes of failures.
fn safely(webhook: Webhook, judge: impl FnOnce() -> Verdict) -> Verdict {
    // Nothing that the judge has borrowed is changed by it.
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| {
        warn!(webhook = webhook.name(), "a review could not be judged");
        Verdict::Refused {
            message: "it could not be judged: the control plane made a mistake, which its log has"
                .to_owned(),
            warnings: Vec::new(),
        }
    })
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "application/json", body.into())
}

fn plain(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain", Bytes::from_static(body.as_bytes()))
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
