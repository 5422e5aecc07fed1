//! What is written down of a connection that is not HTTP: counted and logged once it has ended.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::request::Downstream;
use crate::request::log::{chain, uri};
use crate::table::opaque::OpaqueRoute;
use crate::tcp::Refusal;
use crate::tcp::carry::Broken;
use crate::telemetry::access_log::{Entry, Text};
use crate::telemetry::flags::Flags;
use crate::telemetry::labels::TrafficId;
use crate::telemetry::metrics::{Proved, TcpCounters};
use crate::upstream::alone::Alone;
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::worker::Worker;

/// The record of one connection. One that is dropped while the connection is open says that it was cut off.
pub(super) struct Record<'r> {
    worker: &'r Rc<Worker>,
    downstream: &'r Downstream,
    route: Option<&'r OpaqueRoute>,
    started: Instant,
    start_time: SystemTime,
    /// Labels of the traffic in metrics.
    traffic: TrafficId,
    cluster: String,
    rule: Option<Arc<str>>,
    subset: Arc<str>,
    host: String,
    /// Own address of the connection to it.
    local: Option<SocketAddr>,
    /// Whom it proved to be.
    answerer: Option<Rc<Proved>>,
    /// Bytes up and down so far, while it is carried.
    carried: Cell<Option<(u64, u64)>>,
}

/// How a connection ended.
#[derive(Default)]
struct End {
    flags: Flags,
    detail: Cow<'static, str>,
    failure: String,
    up: u64,
    down: u64,
}

// === impl Record ===

impl<'r> Record<'r> {
    pub(super) fn new(
        worker: &'r Rc<Worker>,
        downstream: &'r Downstream,
        route: Option<&'r OpaqueRoute>,
    ) -> Self {
        Self {
            worker,
            downstream,
            route,
            started: Instant::now(),
            start_time: SystemTime::now(),
            traffic: TrafficId::UNKNOWN,
            cluster: String::new(),
            rule: None,
            subset: "".into(),
            host: String::new(),
            local: None,
            answerer: None,
            carried: Cell::new(None),
        }
    }

    /// Where it goes.
    pub(super) fn routed(&mut self, destination: &Destination) {
        self.traffic = destination.traffic;
        if self.worker.logs() {
            self.cluster = destination.key.to_string();
            self.rule.clone_from(&destination.rule);
            self.subset = Arc::clone(&destination.key.subset);
        }
    }

    /// Who has it.
    pub(super) fn connected(&mut self, member: &Member, alone: &Alone) {
        let metrics = self.worker.metrics.metrics();
        let proved = [&self.downstream.proved, &alone.peer].into_iter().flatten();
        self.traffic = proved.fold(member.traffic, |traffic, it| it.label(traffic, metrics));
        if self.worker.logs() {
            self.host = member.endpoint.addr.to_string();
            self.local = alone.io.local_addr();
            self.answerer.clone_from(&alone.peer);
        }
    }

    /// Counts it as open; what passes is counted as it does.
    pub(super) fn open(&self) -> Arc<TcpCounters> {
        let counters = self.worker.tcp_counters(self.traffic, Flags::NONE);
        counters.opened();
        self.carried.set(Some((0, 0)));
        counters
    }

    /// Notes bytes that were carried.
    pub(super) fn passed(&self, up: u64, down: u64) {
        if let Some((before_up, before_down)) = self.carried.get() {
            self.carried.set(Some((before_up + up, before_down + down)));
        }
    }

    /// It led nowhere.
    pub(super) fn refused(self, refusal: &Refusal) {
        tracing::debug!(
            error = refusal as &dyn std::error::Error,
            "connection refused"
        );
        let counters = self.worker.tcp_counters(self.traffic, refusal.flags());
        counters.opened();
        self.close(End {
            flags: refusal.flags(),
            detail: refusal.detail(),
            failure: match refusal {
                Refusal::Upstream(error) => chain(error),
                Refusal::NoRoute
                | Refusal::UnknownDestination
                | Refusal::Shed
                | Refusal::Denied(_) => String::new(),
            },
            ..End::default()
        });
    }

    /// It was carried.
    pub(super) fn ended(self, up: u64, down: u64, ended: Result<(), Broken>) {
        let (flags, detail) = match &ended {
            Ok(()) => (Flags::NONE, "".into()),
            Err(Broken::Near(_)) => (Flags::DC, "downstream_reset".into()),
            Err(Broken::Far(_)) => (Flags::UC, "upstream_reset".into()),
            Err(Broken::Idle) => (Flags::SI, "idle_timeout".into()),
            Err(Broken::Aged) => (Flags::DT, "max_duration_reached".into()),
            Err(Broken::Refused(denial)) => (Flags::UAEX, denial.to_string().into()),
        };
        if let Err(broken) = &ended {
            tracing::debug!(
                error = broken as &dyn std::error::Error,
                "connection broke off"
            );
        }
        self.close(End {
            flags,
            detail,
            up,
            down,
            ..End::default()
        });
    }

    fn close(&self, end: End) {
        self.carried.set(None);
        self.worker.tcp_counters(self.traffic, end.flags).closed();
        if !self.worker.logs() {
            return;
        }
        let origin = self.route.and_then(|route| route.origin.as_ref());
        let virtual_service = origin.map(|it| format!("{}/{}", it.meta.namespace, it.meta.name));
        let server_name = self.downstream.server_name().unwrap_or_default();
        self.worker.log(&Entry {
            response_flags: end.flags,
            connection_termination_details: Text::from(&*end.detail),
            upstream_transport_failure_reason: Text::from(end.failure.as_str()),
            bytes_received: end.up,
            bytes_sent: end.down,
            duration: self.started.elapsed(),
            upstream_host: Text::from(self.host.as_str()),
            upstream_cluster: Text::from(self.cluster.as_str()),
            upstream_local_address: self.local,
            downstream_local_address: self.downstream.addressed(),
            downstream_remote_address: self.downstream.peer,
            requested_server_name: Text::from(server_name),
            downstream_peer_uri_san: Text::from(uri(self.downstream.principal())),
            upstream_peer_uri_san: Text::from(uri(self.answerer.as_ref().map(|it| &it.id))),
            virtual_service: Text::from(virtual_service.as_deref().unwrap_or_default()),
            rule: origin.and(self.route).map(|route| route.position),
            destination_rule: Text::from(self.rule.as_deref().unwrap_or_default()),
            subset: Text::from(&*self.subset),
            ..Entry::at(self.start_time)
        });
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if let Some((up, down)) = self.carried.get() {
            self.close(End {
                flags: Flags::LR,
                detail: "cut_off_by_drain".into(),
                up,
                down,
                ..End::default()
            });
        }
    }
}
