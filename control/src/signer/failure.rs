//! Something that is tried again and again fails in the same way: told once.

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Failure(Option<String>);

// === impl Failure ===

impl Failure {
    /// Tells of it if it is another than before.
    pub(super) fn tell(&mut self, what: &'static str, error: anyhow::Error) {
        let failure = format!("{error:#}");
        if self.0.as_ref() != Some(&failure) {
            tracing::error!(error = failure, "{what}");
            self.0 = Some(failure);
        }
    }

    /// It went well.
    pub(super) fn is_over(&mut self) {
        self.0 = None;
    }
}
