//! Arguments of `meshproxy dev-certs`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use authority::ServerName;
use authority::leaf::LEAF_LIFETIME_MAX;
use clap::Args;
use config::spiffe::{SpiffeId, is_trust_domain};

use super::value::namespace;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Arguments of `meshproxy dev-certs`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DevCertsArgs {
    /// Folder for the root and, below it, one folder per identity and gateway.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A workload, by namespace and service account; may be given more than once.
    #[arg(
        long = "identity",
        value_name = "NAMESPACE/ACCOUNT",
        value_delimiter = ',',
        required_unless_present = "gateways"
    )]
    pub identities: Vec<Account>,
    /// Names of a server at the edge, of DNS or addresses, for one certificate; may be given more than
    /// once.
    #[arg(long = "gateway", value_name = "NAME[,NAME...]")]
    pub gateways: Vec<ServerNames>,
    /// Trust domain of the identities.
    #[arg(long, value_name = "DOMAIN", env = "MESHPROXY_TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,
    /// How long the certificates are valid, in days. Run again to renew them.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX))
    )]
    pub days: u32,
}

/// Most days that a certificate may be valid.
const DAYS_MAX: u32 = (LEAF_LIFETIME_MAX.as_secs() / DAY.as_secs()) as u32;

/// A workload by its service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub name: String,
}

/// The names of one server, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNames(pub Vec<ServerName>);

// === impl DevCertsArgs ===

impl DevCertsArgs {
    /// How long the certificates are valid.
    pub fn lifetime(&self) -> Duration {
        DAY * self.days
    }
}

// === impl Account ===

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((before, name)) = text.split_once('/') else {
            return Err("must be NAMESPACE/ACCOUNT, such as default/web".to_owned());
        };
        let namespace = namespace(before).map_err(|error| format!("namespace: {error}"))?;
        match SpiffeId::workload("td", &namespace, name) {
            Ok(_) => Ok(Self {
                namespace,
                name: name.to_owned(),
            }),
            Err(_) => Err("account: must be letters, digits and any of - _ .".to_owned()),
        }
    }
}

// === impl ServerNames ===

impl FromStr for ServerNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).map(|name| {
            let read: Result<ServerName, _> = name.parse();
            read.map_err(|error| format!("\"{name}\" {error}"))
        });
        names.collect::<Result<_, _>>().map(Self)
    }
}

fn trust_domain(text: &str) -> Result<String, String> {
    match is_trust_domain(text) {
        true => Ok(text.to_owned()),
        false => Err("must be lower-case letters, digits and any of . - _".to_owned()),
    }
}
