//! What only the account of a request tells, and neither the access log nor metrics need: noted while
//! the request passes, and only if its caller may know.

use std::cell::{Cell, RefCell};

use serde::Serialize;

use super::Explanation;
use crate::table::fault::{Drawn, End};
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;

/// Most entries of a list; what comes later is left out.
const ENTRIES_MAX: usize = 16;

/// What happened to one request beside what its record has.
#[derive(Debug, Default)]
pub(crate) struct Account {
    percent: Cell<Option<f64>>,
    faults: RefCell<Vec<String>>,
    mirrors: RefCell<Vec<String>>,
    tried: RefCell<Vec<Tried>>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tried {
    /// Whom it asked.
    endpoint: String,
    /// The status of its answer, or why there was none; absent while it was awaited.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

// === impl Account ===

impl Account {
    /// The target was chosen that has this share of its split, 0–1.
    pub(crate) fn chosen(&self, share: f64) {
        self.percent.set(Some((share * 10_000.0).round() / 100.0));
    }

    /// These faults were drawn.
    pub(crate) fn faults(&self, drawn: &Drawn) {
        let Drawn { delay, end, pace } = drawn;
        let mut faults = self.faults.borrow_mut();
        let told = [
            delay.map(|time| format!("delay {time:?}")),
            end.map(|end| match end {
                End::Abort(status) => format!("abort {}", status.http.as_u16()),
                End::Reset => "reset".to_owned(),
            }),
            // Of an answer that does not come, no body is slow.
            pace.filter(|_| end.is_none())
                .map(|pace| format!("slow body {} B/s", pace.bytes_per_second())),
        ];
        told.into_iter()
            .flatten()
            .for_each(|fault| add(&mut faults, fault));
    }

    /// A copy was sent.
    pub(crate) fn mirrored(&self, destination: &Destination) {
        add(&mut self.mirrors.borrow_mut(), destination.key.to_string());
    }

    /// An attempt begins.
    pub(crate) fn tries(&self, member: &Member) {
        let tried = Tried {
            endpoint: member.endpoint.addr.to_string(),
            ended: None,
        };
        add(&mut self.tried.borrow_mut(), tried);
    }

    /// The attempt with this number, from 1, has ended.
    pub(crate) fn ended(&self, number: u32, how: String) {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(tried) = self.tried.borrow_mut().get_mut(at.saturating_sub(1)) {
            tried.ended = Some(how);
        }
    }

    /// What is told of a request of which the rest is known.
    pub(crate) fn add_to<'e>(&self, rest: Explanation<'e>) -> Explanation<'e> {
        Explanation {
            percent: self.percent.get(),
            faults: self.faults.take(),
            mirrors: self.mirrors.take(),
            tried: self.tried.take(),
            ..rest
        }
    }
}

fn add<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < ENTRIES_MAX {
        list.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::labels::TrafficId;
    use crate::upstream::endpoint::{Endpoint, EndpointAddr};

    fn member(port: u16) -> Member {
        let addr = EndpointAddr::Tcp((Ipv4Addr::LOCALHOST, port).into());
        Member {
            endpoint: Arc::new(Endpoint::new(addr)),
            weight: 1,
            traffic: TrafficId::UNKNOWN,
            locality: None,
            channel: Default::default(),
        }
    }

    #[test]
    fn attempts_are_told_in_order_and_no_more_than_fit() {
        let account = Account::default();

        for number in 1..=20 {
            account.tries(&member(number));
            account.ended(u32::from(number), "503".to_owned());
        }

        let told = account.add_to(Explanation::default());
        let endpoints: Vec<&str> = told.tried.iter().map(|it| &*it.endpoint).collect();
        assert_eq!(endpoints.len(), ENTRIES_MAX);
        assert_eq!(endpoints[..2], ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(
            told.tried
                .iter()
                .all(|it| it.ended.as_deref() == Some("503"))
        );
    }

    #[test]
    fn faults_are_told_as_they_were_drawn() {
        let account = Account::default();
        let drawn = Drawn {
            delay: Some(Duration::from_millis(5)),
            end: Some(End::Reset),
            pace: None,
        };

        account.faults(&Drawn::default());
        account.faults(&drawn);

        let told = account.add_to(Explanation::default());
        assert_eq!(told.faults, ["delay 5ms", "reset"]);
    }
}
