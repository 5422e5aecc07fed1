//! Whom the other side of a connection proved to be, and what that makes of the labels of its traffic.

use std::cell::Cell;

use config::spiffe::SpiffeId;

use crate::telemetry::labels::{Reporter, Traffic, TrafficId};
use crate::telemetry::metrics::Metrics;

/// Whom the other side of a connection proved to be.
#[derive(Debug)]
pub struct Proved {
    pub(crate) id: SpiffeId,
    side: Side,
    /// The labels of the last traffic, without its principal and with it. Nearly always the next one
    /// has the same, so that a request takes no lock.
    last: Cell<Option<(TrafficId, TrafficId)>>,
}

/// Which side of us it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Upstream,
    Downstream,
}

// === impl Proved ===

impl Proved {
    /// A server that we connected to.
    pub(crate) fn upstream(id: SpiffeId) -> Self {
        Self::on(Side::Upstream, id)
    }

    /// A client that connected to us.
    pub(crate) fn downstream(id: SpiffeId) -> Self {
        Self::on(Side::Downstream, id)
    }

    fn on(side: Side, id: SpiffeId) -> Self {
        Self {
            id,
            side,
            last: Cell::new(None),
        }
    }

    /// The labels of traffic on the connection, given those that do not say who it is with.
    pub(crate) fn label(&self, traffic: TrafficId, metrics: &Metrics) -> TrafficId {
        match self.last.get() {
            Some((without, with)) if without == traffic => with,
            Some(_) | None => {
                let with =
                    metrics.relabel(traffic, |reporter, labels| self.labels(reporter, labels));
                self.last.set(Some((traffic, with)));
                with
            }
        }
    }

    /// A source reports to whom it spoke, a destination with whom. What a gateway's client proved is
    /// no label of what the gateway reports: there it is the source itself.
    fn labels(&self, reporter: Reporter, labels: Traffic) -> Traffic {
        match (self.side, reporter) {
            (Side::Upstream, Reporter::Source) => Traffic {
                destination_principal: self.id.shared(),
                ..labels
            },
            (Side::Downstream, Reporter::Destination) => Traffic {
                source_principal: self.id.shared(),
                ..labels
            },
            (Side::Upstream, Reporter::Destination) | (Side::Downstream, Reporter::Source) => {
                labels
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::Identity;

    const ID: &str = "spiffe://cluster.local/ns/shop/sa/cart";

    fn id() -> SpiffeId {
        SpiffeId::parse(ID).expect("an identity")
    }

    #[test]
    fn each_side_reports_whom_it_met_and_no_one_else() {
        let metrics = Metrics::new(Identity::unknown(), 10);
        let traffic = || Traffic::to_service("cart", "shop");
        let source = metrics.intern(Reporter::Source, traffic());
        let destination = metrics.intern(Reporter::Destination, traffic());

        let expected = Traffic {
            destination_principal: ID.into(),
            ..traffic()
        };
        let expected = metrics.intern(Reporter::Source, expected);
        assert_eq!(Proved::upstream(id()).label(source, &metrics), expected);

        let expected = Traffic {
            source_principal: ID.into(),
            ..traffic()
        };
        let expected = metrics.intern(Reporter::Destination, expected);
        let caller = Proved::downstream(id());
        assert_eq!(caller.label(destination, &metrics), expected);
        assert_eq!(caller.label(source, &metrics), source, "of a gateway");
    }

    #[test]
    fn what_has_no_labels_of_its_own_gets_none() {
        let metrics = Metrics::new(Identity::unknown(), 10);
        let peer = Proved::upstream(id());

        for constant in [
            TrafficId::UNKNOWN,
            TrafficId::OVERFLOW_SOURCE,
            TrafficId::OVERFLOW_DESTINATION,
        ] {
            assert_eq!(peer.label(constant, &metrics), constant);
        }
    }
}
