//! The name servers that others are asked through: those of `/etc/resolv.conf`, or others if some are
//! named. Never ourselves.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::time::Instant;

use super::State;

/// Where the system says which name servers there are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Largest such file that is read.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;
/// Time between two looks at whether it has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Most name servers that are asked, the first ones. The C library asks three.
const SERVERS_MAX: usize = 3;
/// Port of name servers that name none.
pub(crate) const PORT: u16 = 53;

/// The name servers, and which of them answered last.
#[derive(Debug)]
pub(super) struct Servers {
    state: Arc<State>,
    /// Where they are written; none if they were named by flags.
    file: Option<PathBuf>,
    current: RefCell<Vec<SocketAddr>>,
    /// When the file that was read last was changed, and when to look again.
    seen: Cell<Option<(Option<SystemTime>, Instant)>>,
    preferred: Cell<usize>,
}

// === impl Servers ===

impl Servers {
    /// Those that were named, else those of the system.
    pub(super) fn new(state: Arc<State>, named: Vec<SocketAddr>) -> Self {
        let file = named.is_empty().then(|| RESOLV_CONF.into());
        let servers = Self {
            file,
            current: RefCell::default(),
            seen: Cell::default(),
            preferred: Cell::default(),
            state,
        };
        servers.use_those(named);
        servers
    }

    /// The servers in the order in which to ask them: that which answered last is the first.
    pub(super) fn in_order(&self, now: Instant) -> Vec<(usize, SocketAddr)> {
        self.look(now);
        let current = self.current.borrow();
        let mut servers: Vec<(usize, SocketAddr)> = current.iter().copied().enumerate().collect();
        if !servers.is_empty() {
            let first = self.preferred.get() % servers.len();
            servers.rotate_left(first);
        }
        servers
    }

    /// Notes that a server answered.
    pub(super) fn prefer(&self, number: usize) {
        self.preferred.set(number);
    }

    /// Reads the file if it has changed; now and then it is looked at.
    fn look(&self, now: Instant) {
        let Some(file) = &self.file else { return };
        let seen = self.seen.get();
        if seen.is_some_and(|(_, next)| now < next) {
            return;
        }
        let changed = file.metadata().and_then(|it| it.modified()).ok();
        self.seen.set(Some((changed, now + LOOK_INTERVAL)));
        if seen.is_some_and(|(before, _)| before == changed) {
            return;
        }
        match read(file) {
            Ok(text) => self.use_those(parse(&text)),
            // Those before are better than none.
            Err(error) => tracing::warn!(file = %file.display(), %error, "name servers not read"),
        }
    }

    fn use_those(&self, mut servers: Vec<SocketAddr>) {
        servers.retain(|server| !is_us(*server, &self.state.listening));
        servers.truncate(SERVERS_MAX);
        self.state.servers.replace(servers.clone());
        self.preferred.set(0);
        *self.current.borrow_mut() = servers;
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?
        .take(RESOLV_CONF_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// The name servers of a `resolv.conf`; none if nothing of it can be used.
fn parse(text: &[u8]) -> Vec<SocketAddr> {
    let Ok((config, _)) = parse_resolv_conf(text) else {
        return Vec::new();
    };
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in config.name_servers() {
        let addr = SocketAddr::new(server.ip, PORT);
        if !servers.contains(&addr) {
            servers.push(addr);
        }
    }
    servers
}

/// Whether a server is where we listen: what we ask there we would ask ourselves, for ever.
fn is_us(server: SocketAddr, listening: &[SocketAddr]) -> bool {
    let reaches =
        |ours: IpAddr| ours == server.ip() || (ours.is_unspecified() && server.ip().is_loopback());
    let mut ours = listening.iter();
    ours.any(|ours| ours.port() == server.port() && reaches(ours.ip()))
}
