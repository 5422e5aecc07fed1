//! What there is: programs, families of addresses, and rules of ours from before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::iptables::nft;
use crate::iptables::plan::Family;
use crate::iptables::program::{Call, ProgramError};
use crate::iptables::restore::Saved;

/// Where the system's name servers are written.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Every address of IPv6 of this namespace; not there if the kernel has no IPv6.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";
/// Where programs of the system are, also for those whose `PATH` does not say so.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What a file of the system says cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error("{path}: {source}")]
    Read {
        path: &'static str,
        source: io::Error,
    },
    #[error("{RESOLV_CONF}: names no server, so that --redirect-dns would do nothing")]
    NoNameServers,
}

/// How iptables keeps rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kept {
    /// As nftables.
    Nft,
    /// As before nftables.
    Legacy,
}

/// Programs and families of addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// `nft`.
    pub(super) nft: Option<PathBuf>,
    /// The programs of iptables.
    pub(super) iptables: BTreeMap<(Kept, Family), Iptables>,
    /// `ip`.
    pub(super) ip: Option<PathBuf>,
    /// Families of addresses that the kernel has.
    pub(super) families: Vec<Family>,
    /// Whether IPv6 is used: whether there is any address.
    pub(super) uses_ipv6: bool,
    /// Whether loopback has the address by which the proxy calls its workload. IPv4 has it always.
    pub(super) has_own_address: bool,
}

/// The programs of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Iptables {
    pub(super) restore: PathBuf,
    pub(super) save: PathBuf,
}

/// Rules from before, as far as each backend can tell.
#[derive(Debug)]
pub(super) struct Seen {
    /// Whether there is a table of ours.
    pub(super) nft: Result<bool, Unusable>,
    /// What `iptables-save` shows.
    pub(super) iptables: BTreeMap<Kept, Result<BTreeMap<Family, Saved>, Unusable>>,
}

/// Why a backend cannot be used here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{0} is not installed")]
    Missing(String),
    #[error(transparent)]
    Broken(#[from] ProgramError),
}

// === impl Kept ===

impl Kept {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Nft, Self::Legacy];

    /// What names of programs have for it.
    fn infix(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    /// Whether a program keeps rules so that shows this version. What shows nothing is older than
    /// nftables.
    fn is_of(self, version: &str) -> bool {
        match self {
            Self::Nft => version.contains("(nf_tables)"),
            Self::Legacy => !version.contains("(nf_tables)"),
        }
    }
}

// === impl Host ===

impl Host {
    /// Looks for programs and addresses.
    ///
    /// # Errors
    ///
    /// If the system does not tell what addresses it has.
    pub(super) fn find() -> Result<Self, HostError> {
        let addresses = match fs::read_to_string(IPV6_ADDRESSES) {
            Ok(addresses) => Some(addresses),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                let path = IPV6_ADDRESSES;
                return Err(HostError::Read { path, source });
            }
        };
        let families = match &addresses {
            Some(_) => Family::ALL.to_vec(),
            None => vec![Family::V4],
        };
        let addresses = addresses.unwrap_or_default();
        let pairs = Kept::ALL.into_iter().flat_map(|kept| {
            let found = Family::ALL.map(|family| Some(((kept, family), iptables(kept, family)?)));
            found.into_iter().flatten()
        });
        Ok(Self {
            nft: program("nft"),
            iptables: pairs.collect(),
            ip: program("ip"),
            families,
            uses_ipv6: !addresses.trim().is_empty(),
            has_own_address: has_own_address(&addresses),
        })
    }
}

// === impl Seen ===

impl Seen {
    /// Asks every backend.
    pub(super) fn look(host: &Host) -> Self {
        let saved = Kept::ALL.map(|kept| (kept, saved(host, kept)));
        Self {
            nft: has_table(host),
            iptables: saved.into(),
        }
    }

    /// Takes backends that are installed, but do not tell, for empty. Says why they do not.
    pub(super) fn assume_nothing(&mut self) -> Vec<ProgramError> {
        let mut why = Vec::new();
        let nft = std::mem::replace(&mut self.nft, Ok(false));
        self.nft = nft.or_else(|unusable| unusable.taken_for(false, &mut why));
        for saved in self.iptables.values_mut() {
            let seen = std::mem::replace(saved, Ok(BTreeMap::new()));
            *saved = seen.or_else(|unusable| unusable.taken_for(BTreeMap::new(), &mut why));
        }
        why
    }

    /// Whether anything of ours is there.
    pub(super) fn has_ours(&self) -> bool {
        let mut saved = self.iptables.values().flatten().flat_map(BTreeMap::values);
        self.nft.as_ref().is_ok_and(|ours| *ours) || saved.any(Saved::has_ours)
    }
}

// === impl Unusable ===

impl Unusable {
    fn taken_for<T>(self, nothing: T, why: &mut Vec<ProgramError>) -> Result<T, Self> {
        match self {
            Self::Missing(_) => Err(self),
            Self::Broken(error) => {
                why.push(error);
                Ok(nothing)
            }
        }
    }
}

/// The servers that this host asks for names.
///
/// # Errors
///
/// If none can be read.
pub(super) fn name_servers() -> Result<Vec<IpAddr>, HostError> {
    let path = RESOLV_CONF;
    let text = fs::read_to_string(path).map_err(|source| HostError::Read { path, source })?;
    let servers = servers_in(&text);
    match servers.is_empty() {
        true => Err(HostError::NoNameServers),
        false => Ok(servers),
    }
}

fn servers_in(resolv_conf: &str) -> Vec<IpAddr> {
    let lines = resolv_conf.lines().map(str::split_whitespace);
    let named = lines.filter_map(|mut words| match words.next() {
        // The zone of an address of one link is no part of a rule.
        Some("nameserver") => words.next()?.split('%').next()?.parse().ok(),
        Some(_) | None => None,
    });
    let mut servers: Vec<IpAddr> = Vec::new();
    for server in named {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// Whether `lo` has the address, by the form of `/proc/net/if_inet6`: 32 digits, four numbers, name.
fn has_own_address(addresses: &str) -> bool {
    let own: Option<Ipv6Addr> = Family::V6.proxy_to_workload().parse().ok();
    addresses.lines().any(|line| {
        let mut words = line.split_whitespace();
        let digits = words
            .next()
            .and_then(|it| u128::from_str_radix(it, 16).ok());
        digits.map(Ipv6Addr::from_bits) == own && words.next_back() == Some("lo")
    })
}

fn has_table(host: &Host) -> Result<bool, Unusable> {
    let program = host.nft.clone();
    let program = program.ok_or_else(|| Unusable::Missing("nft".to_owned()))?;
    let arguments = vec!["list", "tables"];
    let tables = Call { program, arguments }.run("")?;
    Ok(nft::is_in(&tables))
}

fn saved(host: &Host, kept: Kept) -> Result<BTreeMap<Family, Saved>, Unusable> {
    let mut all = BTreeMap::new();
    for family in &host.families {
        let programs = host.iptables.get(&(kept, *family));
        let programs = programs.ok_or_else(|| Unusable::Missing(name(*family, kept.infix())))?;
        let program = programs.save.clone();
        let arguments = Vec::new();
        let text = Call { program, arguments }.run("")?;
        all.insert(*family, Saved::read(&text));
    }
    Ok(all)
}

fn name(family: Family, infix: &str) -> String {
    let tool = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    match infix {
        "" => tool.to_owned(),
        infix => format!("{tool}-{infix}"),
    }
}

/// The programs of iptables that keep rules in a way, by their own names or by the common ones.
fn iptables(kept: Kept, family: Family) -> Option<Iptables> {
    let pair = |name: String| {
        Some(Iptables {
            restore: program(&format!("{name}-restore"))?,
            save: program(&format!("{name}-save"))?,
        })
    };
    if let Some(own) = pair(name(family, kept.infix())) {
        return Some(own);
    }
    let common = pair(name(family, ""))?;
    let version = Call {
        program: common.restore.clone(),
        arguments: vec!["--version"],
    };
    let version = version.run("").ok()?;
    kept.is_of(&version).then_some(common)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_system_does() {
        let text = "# nameserver 1.1.1.1
search a.test
nameserver 10.0.0.53
nameserver\tfe80::1%eth0
nameserver 10.0.0.53
nameserver
nameserver none
options ndots:5
";

        let servers = servers_in(text);

        let expected: [IpAddr; 2] =
            ["10.0.0.53", "fe80::1"].map(|it| it.parse().expect("it is one"));
        assert_eq!(servers, expected);
    }

    #[test]
    fn the_address_of_loopback_is_known_from_its_digits() {
        let own = "00000000000000000000000000000006 01 80 00 80       lo";
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo";
        let elsewhere = "00000000000000000000000000000006 02 80 00 80     eth0";

        assert!(has_own_address(&format!("{loopback}\n{own}\n")));
        assert!(!has_own_address(&format!("{loopback}\n{elsewhere}\n")));
        assert!(!has_own_address(""));
    }

    #[test]
    fn programs_of_iptables_say_how_they_keep_rules() {
        for (version, kept) in [
            ("iptables-restore v1.8.9 (nf_tables)", Kept::Nft),
            ("iptables-restore v1.8.9 (legacy)", Kept::Legacy),
            ("iptables-restore v1.6.1", Kept::Legacy),
        ] {
            let of: Vec<Kept> = Kept::ALL
                .into_iter()
                .filter(|it| it.is_of(version))
                .collect();

            assert_eq!(of, [kept], "{version}");
        }
    }
}
