//! `/certs`: the certificates in use, and how long they last.

use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::admin::loaded::written;
use crate::tls::facts::{CertificateFacts, Purpose};

/// A certificate as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'f> {
    purpose: Purpose,
    file: &'f Path,
    subject: &'f str,
    names: &'f [String],
    serial: &'f str,
    not_before: String,
    not_after: String,
    /// Negative once it has expired.
    seconds_left: i64,
}

/// All of them, as they are at a time.
pub(super) fn certificates(all: &[CertificateFacts], now: SystemTime) -> Vec<Shown<'_>> {
    let shown = all.iter().map(|facts| Shown {
        purpose: facts.purpose,
        file: &facts.file,
        subject: &facts.subject,
        names: &facts.names,
        serial: &facts.serial,
        not_before: written(facts.not_before),
        not_after: written(facts.not_after),
        seconds_left: facts.seconds_left(now),
    });
    shown.collect()
}
