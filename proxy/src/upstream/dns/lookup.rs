//! One lookup of a name: the hosts file, then name servers, or the C library where those are not
//! known.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::timeout;

use crate::upstream::dns::LOOKUPS_MAX;
use crate::upstream::dns::schedule::{Answer, Family};

/// Limit of the lookup of one family, all name servers and search domains included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an answer holds that comes without a lifetime: from the hosts file and the C library.
const UNTIMED_TTL: Duration = Duration::from_secs(60);

/// How long it holds that there is no record when the name server does not say.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// Largest hosts file that is read.
const HOSTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

const HOSTS_FILE: &str = "/etc/hosts";

/// A way to look names up.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Name servers, behind the hosts file if there is one.
    Servers {
        resolver: Box<TokioResolver>,
        /// Whether names are also looked for within search domains.
        searches: bool,
        hosts: Option<HostsFile>,
    },
    /// The C library, which knows the hosts file by itself.
    Library,
}

/// How a name is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// As it is.
    Complete,
    /// Also within the search domains.
    Searched,
}

/// The hosts file, read again when it has changed.
#[derive(Debug)]
pub(super) struct HostsFile {
    path: PathBuf,
    /// Held only while a name is looked up in it or the file is read.
    known: Mutex<(Option<SystemTime>, Hosts)>,
}

// === impl Lookup ===

impl Lookup {
    /// By the system's configuration.
    pub(super) fn system() -> Self {
        let configured = system_conf::read_system_conf();
        let usable = configured.and_then(|(config, options)| match config.name_servers() {
            [] => Err(NetError::NoConnections),
            _ => {
                let searches = config.domain().is_some() || !config.search().is_empty();
                Ok((servers(config, options)?, searches))
            }
        });
        match usable {
            Ok((resolver, searches)) => {
                let hosts = Some(HostsFile::new(HOSTS_FILE.into()));
                Self::Servers {
                    resolver,
                    searches,
                    hosts,
                }
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    refresh = ?UNTIMED_TTL,
                    "name servers of /etc/resolv.conf cannot be used, asking the C library"
                );
                Self::Library
            }
        }
    }

    /// By one name server over UDP, without a hosts file.
    pub(super) fn nameserver(addr: SocketAddr) -> io::Result<Self> {
        let mut server = NameServerConfig::udp(addr.ip());
        for connection in &mut server.connections {
            connection.port = addr.port();
        }
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = servers(config, ResolverOpts::default()).map_err(io::Error::other)?;
        Ok(Self::Servers {
            resolver,
            searches: false,
            hosts: None,
        })
    }

    /// Both families of `name`, asked for at the same time.
    pub(super) async fn resolve(&self, name: &str) -> Answer {
        match self {
            Self::Servers {
                resolver,
                searches,
                hosts,
            } => {
                if let Some(addresses) = hosts.as_ref().and_then(|hosts| hosts.find(name)) {
                    return untimed(&addresses);
                }
                let scope = match *searches && !name.ends_with('.') {
                    true => Scope::Searched,
                    false => Scope::Complete,
                };
                let family = |record| family(resolver, name, record, scope);
                let (v4, v6) = tokio::join!(family(RecordType::A), family(RecordType::AAAA));
                Answer { v4, v6 }
            }
            Self::Library => library(name).await,
        }
    }
}

fn servers(
    config: ResolverConfig,
    mut options: ResolverOpts,
) -> Result<Box<TokioResolver>, NetError> {
    // The schedule decides when to ask again, and the hosts file is ours.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = options.max_active_requests.max(2 * LOOKUPS_MAX);
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build().map(Box::new)
}

/// One family. A name with a dot is first taken as complete and only then within the search domains,
/// so that the many search domains of a cluster cost nothing where the name is complete, and so that
/// a failure for the complete name is not taken for the absence of a name that nobody meant.
async fn family(resolver: &TokioResolver, name: &str, record: RecordType, scope: Scope) -> Family {
    if scope == Scope::Searched && !name.contains('.') {
        return ask(resolver, name, record).await;
    }
    let answer = ask(
        resolver,
        &format!("{}.", name.trim_end_matches('.')),
        record,
    )
    .await;
    let absent = matches!(&answer, Family::Known { addresses, .. } if addresses.is_empty());
    match scope {
        Scope::Searched if absent => ask(resolver, name, record).await,
        Scope::Searched | Scope::Complete => answer,
    }
}

async fn ask(resolver: &TokioResolver, name: &str, record: RecordType) -> Family {
    let Ok(answer) = timeout(LOOKUP_TIMEOUT, resolver.lookup(name, record)).await else {
        return Family::Failed;
    };
    match answer {
        Ok(lookup) => {
            let addresses = lookup
                .answers()
                .iter()
                .filter_map(|record| record.data.ip_addr());
            let ttl = lookup.answers().iter().map(|record| record.ttl).min();
            let ttl = ttl.map_or(NEGATIVE_TTL, |secs| Duration::from_secs(secs.into()));
            Family::Known {
                addresses: addresses.collect(),
                ttl,
            }
        }
        Err(error) => match absent(&error) {
            Some(ttl) => Family::Known {
                addresses: Vec::new(),
                ttl,
            },
            None => {
                tracing::debug!(name, %record, %error, "lookup failed");
                Family::Failed
            }
        },
    }
}

/// For how long a name server says that there is no record, if that is what it says.
fn absent(error: &NetError) -> Option<Duration> {
    let NetError::Dns(DnsError::NoRecordsFound(absence)) = error else {
        return None;
    };
    let said = matches!(
        absence.response_code,
        ResponseCode::NXDomain | ResponseCode::NoError
    );
    let ttl = absence
        .negative_ttl
        .map_or(NEGATIVE_TTL, |secs| Duration::from_secs(secs.into()));
    said.then_some(ttl)
}

/// Asks the C library, which does not tell absence from failure.
async fn library(name: &str) -> Answer {
    match timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => untimed(&found.map(|addr| addr.ip()).collect::<Vec<_>>()),
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "lookup failed");
            Answer::FAILED
        }
        Err(_) => Answer::FAILED,
    }
}

fn untimed(addresses: &[IpAddr]) -> Answer {
    let family = |wanted: fn(&IpAddr) -> bool| Family::Known {
        addresses: addresses.iter().copied().filter(wanted).collect(),
        ttl: UNTIMED_TTL,
    };
    Answer {
        v4: family(IpAddr::is_ipv4),
        v6: family(IpAddr::is_ipv6),
    }
}

// === impl HostsFile ===

impl HostsFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::default(),
        }
    }

    /// The addresses that the file gives a name; `None` if it does not have the name. A name with
    /// addresses of one family has none of the other, as the C library sees it.
    fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .ok();
        if known.0 != modified {
            *known = (modified, self.read());
        }
        let name = Name::from_utf8(name).ok()?;
        let families = [RecordType::A, RecordType::AAAA];
        let lookups = families.into_iter().filter_map(|record| {
            let query = Query::query(name.clone(), record);
            known.1.lookup_static_host(&query)
        });
        let addresses: Vec<IpAddr> = lookups
            .flat_map(|lookup| {
                let addresses = lookup
                    .answers()
                    .iter()
                    .filter_map(|record| record.data.ip_addr());
                addresses.collect::<Vec<_>>()
            })
            .collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn read(&self) -> Hosts {
        let mut hosts = Hosts::default();
        let file = File::open(&self.path).map(|file| io::Read::take(file, HOSTS_BYTES_MAX));
        // A file that cannot be read names nothing.
        if let Err(error) = file.and_then(|file| hosts.read_hosts_conf(file)) {
            tracing::debug!(path = %self.path.display(), %error, "hosts file not read");
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("hosts");
        let write = |text: &str, age_secs| {
            fs::write(&path, text).expect("written");
            let file = File::options().write(true).open(&path).expect("opened");
            let modified = SystemTime::now() - Duration::from_secs(age_secs);
            file.set_modified(modified).expect("dated");
        };
        let hosts = HostsFile::new(path.clone());
        let find = |name| {
            hosts
                .find(name)
                .map(|found| found.iter().map(IpAddr::to_string).collect())
        };
        let found = |addresses: &[&str]| -> Option<Vec<String>> {
            Some(addresses.iter().map(|address| (*address).into()).collect())
        };

        assert_eq!(find("db"), None::<Vec<String>>, "no file");
        write("10.0.0.1 db db.local # comment\nfd00::1 db\n", 60);
        assert_eq!(find("db"), found(&["10.0.0.1", "fd00::1"]));
        assert_eq!(find("DB.local"), found(&["10.0.0.1"]));
        write("10.0.0.2 db\n", 30);
        assert_eq!(find("db"), found(&["10.0.0.2"]));
        assert_eq!(find("db.local"), None);
    }

    #[tokio::test]
    async fn the_c_library_knows_localhost() {
        let Answer {
            v4: Family::Known { addresses: v4, .. },
            v6: Family::Known { addresses: v6, .. },
        } = Lookup::Library.resolve("localhost").await
        else {
            panic!("localhost is known");
        };

        assert!(!v4.is_empty() || !v6.is_empty());
        assert!(v4.iter().chain(&v6).all(IpAddr::is_loopback));
    }
}
