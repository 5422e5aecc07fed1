//! Where a request that is only thought of comes in.

use std::convert::Infallible;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use config::Problem;

use super::asked::Asked;
use super::connection;
use super::decide::decide;
use super::decision::Decision;
use super::decision::connection::Connection;
use crate::offline::{Offline, Traffic, View, Workload};
use crate::table::{Bind, Direction, Listener, PortRule};

/// A listener that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `mesh`: the outbound one of the proxy beside the caller.
    Mesh,
    /// `gateway/NAMESPACE/NAME`: of the servers of this gateway, rather the one at the URL's port.
    Gateway(String),
    /// The one at an address, such as `0.0.0.0:8080`.
    At(String),
}

/// Why there is no decision.
#[derive(Debug)]
pub(crate) enum Undecided {
    /// The configuration cannot be used.
    Problems(Vec<Problem>),
    /// Nobody listens where the request would come in.
    NoListener(String),
}

/// The configuration as different callers see it, each compiled once.
#[derive(Debug)]
pub(crate) struct Views {
    offline: Offline,
    made: Vec<(Traffic, Rc<View>)>,
}

/// A listener of a view.
struct Entry {
    view: Rc<View>,
    listener: Arc<Listener>,
}

// === impl Wanted ===

impl FromStr for Wanted {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.strip_prefix("gateway/")) {
            ("mesh", _) => Self::Mesh,
            (_, Some(name)) => Self::Gateway(name.to_owned()),
            (addr, None) => Self::At(addr.to_owned()),
        })
    }
}

// === impl Views ===

impl Views {
    /// The views of what the files hold.
    pub(crate) fn new(offline: Offline) -> Self {
        Self {
            offline,
            made: Vec::new(),
        }
    }

    /// What would become of `asked` from `caller`: at the listener that is wanted, else at the first
    /// that serves the host among the gateways at the URL's port and then the outbound ones of the
    /// proxy beside the caller.
    pub(crate) fn decide(
        &mut self,
        caller: &Workload,
        wanted: Option<&Wanted>,
        asked: &Asked,
    ) -> Result<Decision, Undecided> {
        let port = asked.url.port();
        let candidates = self.candidates(caller, wanted, port)?;
        let serving = candidates.iter().find(|it| serves(it.listener(), asked));
        match serving.or(candidates.first()) {
            Some(entry) => Ok(decide(&entry.view, entry.listener(), asked)),
            None => Err(Undecided::NoListener(self.absence(caller, port)?)),
        }
    }

    /// What would become of the connection `asked` from `caller`, once it is captured.
    pub(crate) fn decide_connection(
        &mut self,
        caller: &Workload,
        asked: &connection::Asked,
    ) -> Result<Connection, Undecided> {
        let view = self.view(caller, Traffic::Captured)?;
        let absent = || Undecided::NoListener("nothing is captured".to_owned());
        connection::decide(&view, asked).ok_or_else(absent)
    }

    /// Listeners that a request at `port` may come in by, the likeliest first.
    fn candidates(
        &mut self,
        caller: &Workload,
        wanted: Option<&Wanted>,
        port: u16,
    ) -> Result<Vec<Entry>, Undecided> {
        let mut candidates = Vec::new();
        let mut add = |view: &Rc<View>, fits: &dyn Fn(&Listener) -> bool| {
            let listeners = view.snapshot.table.listeners.iter();
            let fitting = listeners.filter(|listener| fits(listener));
            candidates.extend(fitting.map(|listener| Entry {
                view: Rc::clone(view),
                listener: Arc::clone(listener),
            }));
        };
        match wanted {
            Some(Wanted::Gateway(name)) => {
                let view = self.view(caller, Traffic::All)?;
                let named = format!("gateway {name}");
                add(&view, &|it| it.name == named && is_at(it, port));
                add(&view, &|it| it.name == named);
            }
            Some(Wanted::At(addr)) => {
                let view = self.view(caller, Traffic::All)?;
                add(&view, &|it| it.bind.to_string() == *addr);
            }
            None => {
                let view = self.view(caller, Traffic::All)?;
                let is_gateway = |it: &Listener| it.direction == Direction::Gateway;
                add(&view, &|it| is_gateway(it) && is_at(it, port));
            }
            Some(Wanted::Mesh) => {}
        }
        if matches!(wanted, None | Some(Wanted::Mesh)) {
            let view = self.view(caller, Traffic::Mesh)?;
            let by =
                |it: &Listener, rule| it.direction == Direction::Outbound && it.port_rule == rule;
            add(&view, &|it| by(it, PortRule::Listener(port)));
            add(&view, &|it| by(it, PortRule::Authority));
            if candidates.is_empty() {
                candidates.extend(self.captured(caller, port)?);
            }
        }
        Ok(candidates)
    }

    /// What a captured request at `port` meets, if nobody listens for it by itself. Its address is not
    /// known, but HTTP goes by its host.
    fn captured(&mut self, caller: &Workload, port: u16) -> Result<Option<Entry>, Undecided> {
        let view = self.view(caller, Traffic::Captured)?;
        let mut listeners = view.snapshot.table.listeners.iter();
        let taking =
            listeners.find(|it| it.direction == Direction::Outbound && it.captured.is_some());
        let captured = taking.and_then(|it| it.captured.as_ref());
        let listener = captured.and_then(|it| it.ports.get(&port)).map(Arc::clone);
        Ok(listener.map(|listener| Entry {
            listener,
            view: Rc::clone(&view),
        }))
    }

    fn view(&mut self, caller: &Workload, traffic: Traffic) -> Result<Rc<View>, Undecided> {
        let mut made = self.made.iter();
        let known = made.find(|(made_for, view)| *made_for == traffic && view.workload == *caller);
        if let Some((_, view)) = known {
            return Ok(Rc::clone(view));
        }
        let view = self.offline.view(caller.clone(), traffic);
        let view = Rc::new(view.map_err(Undecided::Problems)?);
        self.made.push((traffic, Rc::clone(&view)));
        Ok(view)
    }

    /// That nobody listens, and who does elsewhere.
    fn absence(&mut self, caller: &Workload, port: u16) -> Result<String, Undecided> {
        let view = self.view(caller, Traffic::All)?;
        let listeners = view.snapshot.table.listeners.iter();
        let told: Vec<String> = listeners
            .map(|listener| format!("{} ({})", listener.bind, listener.name))
            .collect();
        Ok(format!(
            "no listener takes the request at port {port}; the proxy of this caller listens at {}",
            if told.is_empty() {
                "none".to_owned()
            } else {
                told.join(", ")
            }
        ))
    }
}

// === impl Entry ===

impl Entry {
    fn listener(&self) -> &Listener {
        &self.listener
    }
}

fn is_at(listener: &Listener, port: u16) -> bool {
    match &listener.bind {
        Bind::Tcp(addr) => addr.port() == port,
        Bind::Unix(_) => false,
    }
}

fn serves(listener: &Listener, asked: &Asked) -> bool {
    let server_name = asked.url.secure.then_some(asked.url.host());
    let hosts = listener.hosts_for(server_name, asked.host());
    hosts.is_ok_and(|hosts| hosts.find(asked.host()).is_some())
}
