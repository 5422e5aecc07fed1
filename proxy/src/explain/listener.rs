//! Where a request that is only thought of comes in.

use std::convert::Infallible;
use std::rc::Rc;
use std::str::FromStr;

use config::Problem;
use config::mesh::Viewer;

use super::asked::Asked;
use super::decide::decide;
use super::decision::Decision;
use crate::offline::{Offline, Traffic, View};
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

    /// What would become of `asked` from `viewer`: at the listener that is wanted, else at the first
    /// that serves the host among the gateways at the URL's port and then the outbound ones of the
    /// proxy beside the caller.
    pub(crate) fn decide(
        &mut self,
        viewer: &Viewer,
        wanted: Option<&Wanted>,
        asked: &Asked,
    ) -> Result<Decision, Undecided> {
        let port = asked.url.port();
        let mut candidates: Vec<(Rc<View>, usize)> = Vec::new();
        let mut add = |view: &Rc<View>, fits: &dyn Fn(&Listener) -> bool| {
            let listeners = view.snapshot.table.listeners.iter().enumerate();
            let fitting = listeners.filter(|(_, listener)| fits(listener));
            candidates.extend(fitting.map(|(at, _)| (Rc::clone(view), at)));
        };
        let outbound = |it: &Listener| it.direction == Direction::Outbound;
        match wanted {
            Some(Wanted::Gateway(name)) => {
                let view = self.view(viewer, Traffic::All)?;
                let named = format!("gateway {name}");
                add(&view, &|it| it.name == named && is_at(it, port));
                add(&view, &|it| it.name == named);
            }
            Some(Wanted::At(addr)) => {
                let view = self.view(viewer, Traffic::All)?;
                add(&view, &|it| it.bind.to_string() == *addr);
            }
            None => {
                let view = self.view(viewer, Traffic::All)?;
                add(&view, &|it| {
                    it.direction == Direction::Gateway && is_at(it, port)
                });
            }
            Some(Wanted::Mesh) => {}
        }
        if matches!(wanted, None | Some(Wanted::Mesh)) {
            let view = self.view(viewer, Traffic::Mesh)?;
            add(&view, &|it| {
                outbound(it) && it.port_rule == PortRule::Listener(port)
            });
            add(&view, &|it| {
                outbound(it) && it.port_rule == PortRule::Authority
            });
        }
        let serving = candidates.iter().find(|(view, at)| {
            let listener = &view.snapshot.table.listeners[*at];
            serves(listener, asked)
        });
        match serving.or(candidates.first()) {
            Some((view, at)) => {
                let listener = &view.snapshot.table.listeners[*at];
                Ok(decide(view, listener, asked))
            }
            None => Err(Undecided::NoListener(self.absence(viewer, port)?)),
        }
    }

    fn view(&mut self, viewer: &Viewer, traffic: Traffic) -> Result<Rc<View>, Undecided> {
        let mut made = self.made.iter();
        let known = made.find(|(made_for, view)| *made_for == traffic && view.viewer == *viewer);
        if let Some((_, view)) = known {
            return Ok(Rc::clone(view));
        }
        let view = self.offline.view(viewer.clone(), traffic);
        let view = Rc::new(view.map_err(Undecided::Problems)?);
        self.made.push((traffic, Rc::clone(&view)));
        Ok(view)
    }

    /// That nobody listens, and who does elsewhere.
    fn absence(&mut self, viewer: &Viewer, port: u16) -> Result<String, Undecided> {
        let view = self.view(viewer, Traffic::All)?;
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

fn is_at(listener: &Listener, port: u16) -> bool {
    match &listener.bind {
        Bind::Tcp(addr) => addr.port() == port,
        Bind::Unix(_) => false,
    }
}

fn serves(listener: &Listener, asked: &Asked) -> bool {
    let host = asked.url.host();
    let server_name = asked.url.secure.then_some(host);
    let hosts = listener.hosts_for(server_name);
    hosts.is_some_and(|hosts| hosts.find(host).is_some())
}
