//! What comes of looking again and again at what an authority is kept in: news for all who wait for them,
//! or a failure that is told once.

use std::sync::Arc;

use tokio::sync::watch;

use super::trust::Trust;

/// Where what is to be used goes.
#[derive(Debug)]
pub(super) struct Outlet {
    trust: watch::Sender<Option<Arc<Trust>>>,
    /// What went wrong at the last look.
    failure: Option<String>,
}

// === impl Outlet ===

impl Outlet {
    pub(super) fn new(trust: watch::Sender<Option<Arc<Trust>>>) -> Self {
        Self {
            trust,
            failure: None,
        }
    }

    /// Takes what a look found: something new, nothing new, or something that cannot be used, with which
    /// what was before stays.
    pub(super) fn take(&mut self, looked: Result<Option<Trust>, impl Into<anyhow::Error>>) {
        match looked {
            Ok(new) => {
                self.failure = None;
                if let Some(new) = new {
                    self.trust.send_replace(Some(Arc::new(new)));
                }
            }
            Err(error) => self.tell(&error.into()),
        }
    }

    /// Tells of a failure if it is another than before.
    fn tell(&mut self, error: &anyhow::Error) {
        let failure = format!("{error:#}");
        if self.failure.as_ref() != Some(&failure) {
            tracing::error!(error = failure, "the authority stays as it was");
            self.failure = Some(failure);
        }
    }
}
