//! `/drain`: what there is to do at each listener, and how far the proxy is with stopping.

use serde::Serialize;
use tokio::time::Instant;

use crate::drain::plan::{Phase, Stage};
use crate::drain::{Loads, Scope};
use crate::table::Direction;

/// What is going on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    inbound: Side,
    outbound: Side,
    /// Whether the proxy exits at the end.
    exits: bool,
    /// Until what is left is closed; none while nothing stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    listeners: Vec<Listed>,
}

/// The listeners of one direction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    phase: Phase,
    open_connections: usize,
    requests_under_way: usize,
}

/// One listener.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    address: String,
    direction: Direction,
    takes_connections: bool,
    connections: u64,
    open_connections: usize,
    requests_under_way: usize,
}

/// What is going on at this moment.
pub(super) fn shown(loads: &Loads, stage: &Stage, now: Instant) -> Shown {
    let side = |scope, phase| {
        let sum = loads.sum(scope);
        Side {
            phase,
            open_connections: sum.open,
            requests_under_way: sum.requests,
        }
    };
    let listeners = loads.listeners().into_iter();
    let left = |deadline: Instant| deadline.saturating_duration_since(now);
    Shown {
        inbound: side(Scope::Inbound, stage.inbound),
        outbound: side(Scope::Outbound, stage.outbound),
        exits: stage.exits,
        seconds_left: stage.deadline.map(|deadline| left(deadline).as_secs_f64()),
        listeners: listeners
            .map(|(bind, (direction, sum))| Listed {
                address: bind.to_string(),
                direction,
                takes_connections: sum.listening,
                connections: sum.taken,
                open_connections: sum.open,
                requests_under_way: sum.requests,
            })
            .collect(),
    }
}

/// Which listeners `?direction=` means; all without it.
pub(super) fn scope(query: Option<&str>) -> Option<Scope> {
    let mut parameters = query.unwrap_or_default().split('&');
    match parameters.find_map(|it| it.strip_prefix("direction=")) {
        None | Some("all") => Some(Scope::All),
        Some("inbound") => Some(Scope::Inbound),
        Some("outbound") => Some(Scope::Outbound),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_one_that_there_is() {
        assert_eq!(scope(None), Some(Scope::All));
        assert_eq!(scope(Some("a=b")), Some(Scope::All));
        assert_eq!(scope(Some("a=b&direction=inbound")), Some(Scope::Inbound));
        assert_eq!(scope(Some("direction=outbound")), Some(Scope::Outbound));
        assert_eq!(scope(Some("direction=")), None);
        assert_eq!(scope(Some("direction=sideways")), None);
    }
}
