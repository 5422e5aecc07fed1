//! Flags of the control plane.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::error::ErrorKind;

use super::usage;
use super::value::span;
use crate::source::control::{Replica, Settings};

/// Shortest lifetime of a certificate that can be asked for: less is over before it reached everybody.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Longest: authorities sign for no longer.
const LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Longest time for which a request may be held.
const DEMAND_TIMEOUT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(next_help_heading = "Control plane")]
pub(super) struct ControlArgs {
    /// Control planes that tell the configuration, in place of files. Where there are several, or one
    /// has several addresses, one of them is chosen by chance, and another one if it fails. With
    /// `https`, certificates come from there, too, unless --identity-dir has them.
    #[arg(
        long,
        value_name = "URL,...",
        env = "MESHPROXY_CONTROL",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    control: Vec<Replica>,
    /// Authorities that vouch for the control plane, as PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "MESHPROXY_CONTROL_ROOT",
        default_value = "/var/run/secrets/istio/root-cert.pem"
    )]
    control_root: PathBuf,
    /// Token that proves to the control plane which account the workload has. It is read again each
    /// time.
    #[arg(
        long,
        value_name = "FILE",
        env = "MESHPROXY_CONTROL_TOKEN",
        default_value = "/var/run/secrets/tokens/istio-token"
    )]
    control_token: PathBuf,
    /// Folder for what the control plane told last and for certificates, so that a start needs no
    /// control plane [default: nothing is kept].
    #[arg(long, value_name = "DIR", env = "MESHPROXY_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// How long certificates are asked for. They are renewed at half of what they have, so that a control
    /// plane may be away for as long: a day, by default.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MESHPROXY_CERTIFICATE_LIFETIME",
        default_value = "48h",
        value_parser = lifetime
    )]
    certificate_lifetime: Duration,
    /// How long a request for a host that is not known yet is held while the control plane is asked;
    /// 0 for not at all.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MESHPROXY_DEMAND_TIMEOUT",
        default_value = "5s",
        value_parser = demand_timeout
    )]
    demand_timeout: Duration,
}

// === impl ControlArgs ===

impl ControlArgs {
    /// What is asked for; none without a control plane.
    pub(super) fn settings(self) -> Result<Option<Settings>, clap::Error> {
        let Some(first) = self.control.first() else {
            return Ok(None);
        };
        if self.control.iter().any(|it| it.secure != first.secure) {
            let message = "--control: either all are https or none is";
            return Err(usage(ErrorKind::ValueValidation, message));
        }
        Ok(Some(Settings {
            replicas: self.control,
            root: self.control_root,
            token: self.control_token,
            state_dir: self.state_dir,
            certificate_lifetime: self.certificate_lifetime,
            demand_timeout: self.demand_timeout,
        }))
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = span(text)?;
    match (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
        true => Ok(lifetime),
        false => Err("must be from 60s to 2160h".to_owned()),
    }
}

fn demand_timeout(text: &str) -> Result<Duration, String> {
    let timeout = span(text)?;
    match timeout <= DEMAND_TIMEOUT_MAX {
        true => Ok(timeout),
        false => Err("must be 0, or from 100ms to 60s".to_owned()),
    }
}
