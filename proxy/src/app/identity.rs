//! Who this workload is, read at the start and again whenever its files change. What cannot be used
//! changes nothing: whoever writes the files may be in the middle of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use config::spiffe::SpiffeId;
use tokio::time::Instant;

use crate::bootstrap::Settings;
use crate::telemetry::metrics::Results;
use crate::tls::identity::{IdentityError, WorkloadIdentity};

/// Time after which files that could not be used are looked at again, even if nothing tells of a
/// change: a certificate may just not have been valid yet.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Who this workload is, and where that is written.
pub(super) struct OwnIdentity {
    folder: PathBuf,
    aliases: Vec<String>,
    current: Arc<WorkloadIdentity>,
    /// Why what is written now cannot be used, and when it is looked at again.
    wrong: Option<(Wrong, Instant)>,
}

/// Why what is written cannot be used.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Files(#[from] IdentityError),
    #[error("the certificate is not valid now")]
    Dates,
    /// Whom others believe, and whom this one does, was settled with the domain at the start.
    #[error("{0} is of another trust domain than before, which needs a restart")]
    TrustDomain(SpiffeId),
}

// === impl OwnIdentity ===

impl OwnIdentity {
    /// Reads it from `folder` for the first time; none if the workload has none.
    ///
    /// # Errors
    ///
    /// What is wrong with the files.
    pub(super) fn start(
        settings: &Settings,
        folder: Option<PathBuf>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(folder) = folder else {
            return Ok(None);
        };
        let aliases = settings.trust_domain_aliases.clone();
        let identity = WorkloadIdentity::read(&folder, &aliases)
            .with_context(|| format!("read the identity in {}", folder.display()))?;
        let now = SystemTime::now();
        match identity.is_valid_at(now) {
            true => identity
                .check_vouched(now)
                .with_context(|| format!("use the identity in {}", folder.display()))?,
            false => tracing::warn!(identity = %identity.id, "the certificate is not valid now"),
        }
        let told = (
            settings.trust_domain.as_str(),
            settings.namespace.as_str(),
            settings.service_account.as_str(),
        );
        let (namespace, account) = identity.id.account().unwrap_or_default();
        if (identity.id.trust_domain(), namespace, account) != told {
            tracing::warn!(
                identity = %identity.id,
                flags = ?told,
                "the certificate names another workload than --trust-domain, --namespace and \
                 --service-account; the certificate counts"
            );
        }
        tracing::info!(identity = %identity.id, "identity in use");
        Ok(Some(Self {
            folder,
            aliases,
            current: Arc::new(identity),
            wrong: None,
        }))
    }

    /// Who this workload is.
    pub(super) fn current(&self) -> &Arc<WorkloadIdentity> {
        &self.current
    }

    /// The files that it was read from.
    pub(super) fn files(&self) -> [PathBuf; 3] {
        WorkloadIdentity::files(&self.folder)
    }

    /// When to look again although nothing may have changed; never while all is well.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.wrong.as_ref().map(|(_, at)| *at)
    }

    /// Looks whether something else is written, and takes it if it can be used; says whether it did.
    /// The same certificates stay the same object.
    pub(super) fn look(&mut self, results: &Results) -> bool {
        match self.read(&self.folder, SystemTime::now()) {
            Ok(None) => {
                self.wrong = None;
                false
            }
            Ok(Some(identity)) => {
                results.ok.inc();
                if identity.id != self.current.id {
                    tracing::warn!(
                        before = %self.current.id,
                        now = %identity.id,
                        "the certificate names another workload than before; metrics and rules \
                         about sources go by the one before until a restart"
                    );
                }
                tracing::info!(identity = %identity.id, "identity in use");
                self.current = Arc::new(identity);
                self.wrong = None;
                true
            }
            Err(wrong) => {
                self.keep(wrong, results);
                false
            }
        }
    }

    /// What is written, if it is something else.
    fn read(&self, folder: &Path, now: SystemTime) -> Result<Option<WorkloadIdentity>, Wrong> {
        let identity = WorkloadIdentity::read(folder, &self.aliases)?;
        if identity.is_same(&self.current) {
            return Ok(None);
        }
        if identity.id.trust_domain() != self.current.id.trust_domain() {
            return Err(Wrong::TrustDomain(identity.id));
        }
        if !identity.is_valid_at(now) {
            return Err(Wrong::Dates);
        }
        identity.check_vouched(now)?;
        Ok(Some(identity))
    }

    /// Keeps what is in use, and says why unless it was said already.
    fn keep(&mut self, wrong: Wrong, results: &Results) {
        let text = wrong.to_string();
        let known = self.wrong.as_ref().map(|(wrong, _)| wrong.to_string());
        if known.is_none_or(|known| known != text) {
            results.failed.inc();
            tracing::warn!(
                folder = %self.folder.display(),
                error = text,
                "identity not replaced; the last good one stays"
            );
        }
        self.wrong = Some((wrong, Instant::now() + RETRY_INTERVAL));
    }
}

#[cfg(test)]
mod tests;
