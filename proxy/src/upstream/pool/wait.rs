//! Where a request gets its connection from, and how it waits while all are taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::Receiver;
use tokio::time::timeout;

use crate::upstream::breaker::{Grant, Overflow, Pending, Place, Promise, Thresholds};
use crate::upstream::http1::Connection;
use crate::upstream::pool::{Home, Rested};

/// What a request may use.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A connection that served before.
    Rested(Rested),
    /// A place for a new connection, and what counts the request as waiting meanwhile.
    Open(Place, Option<Pending>),
}

/// The requests of one worker that wait for a connection to one endpoint.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    /// Their numbers in the queue of the destination, in the order of coming.
    numbers: RefCell<VecDeque<u64>>,
    /// Connections for those among them who have not taken theirs yet.
    promised: RefCell<Vec<(u64, Box<Connection>)>>,
}

/// A request in the queue; leaves it when dropped.
pub(crate) struct Waiting<'h> {
    home: &'h Home,
    number: u64,
    grant: Receiver<Grant>,
    _pending: Pending,
}

// === impl Home ===

impl Home {
    /// A connection that rests, if `reuses`, or a place for a new one. `None` if all are taken: then
    /// there is [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// As many connections are being opened as requests may wait.
    pub(crate) fn claim(
        &self,
        thresholds: &Thresholds,
        reuses: bool,
        now: Instant,
    ) -> Result<Option<Claim>, Overflow> {
        if reuses && let Some(rested) = self.take(now) {
            return Ok(Some(Claim::Rested(rested)));
        }
        let Some(place) = self.breaker.open() else {
            return Ok(None);
        };
        // Without a limit of connections the requests that wait for theirs to open have one.
        let pending = match thresholds.connections {
            None => Some(self.breaker.pend(thresholds)?),
            Some(_) => None,
        };
        Ok(Some(Claim::Open(place, pending)))
    }

    /// Waits for a connection of this worker to the endpoint, or for a place, as long as a connection
    /// may take to open.
    ///
    /// # Errors
    ///
    /// As many requests wait as may, or the wait is over.
    ///
    /// # Cancel safety
    ///
    /// What was granted goes to the next.
    pub(crate) async fn wait(
        &self,
        thresholds: &Thresholds,
        limit: Duration,
    ) -> Result<Claim, Overflow> {
        let mut waiting = self.stand(thresholds)?;
        self.waiting.numbers.borrow_mut().push_back(waiting.number);
        match waiting.granted(limit).await? {
            Some(place) => Ok(Claim::Open(place, None)),
            None => {
                let conn = self.waiting.take(waiting.number).ok_or(Overflow::Pending)?;
                let rest = Duration::ZERO;
                Ok(Claim::Rested(Rested { conn, rest }))
            }
        }
    }

    /// Stands in the queue for a place only.
    ///
    /// # Errors
    ///
    /// As many requests wait as may.
    pub(crate) fn stand(&self, thresholds: &Thresholds) -> Result<Waiting<'_>, Overflow> {
        let pending = self.breaker.pend(thresholds)?;
        let (number, grant) = self.breaker.stand();
        Ok(Waiting {
            home: self,
            number,
            grant,
            _pending: pending,
        })
    }

    /// Hands a connection that became free to somebody who waits for it, or closes it for somebody
    /// who needs its place. Gives it back if nobody waits.
    pub(super) fn hand_over(&self, conn: Box<Connection>) -> Option<Box<Connection>> {
        if !self.breaker.is_awaited() {
            return Some(conn);
        }
        let numbers = self.waiting.numbers.borrow();
        match self.breaker.promise(numbers.iter().copied()) {
            Promise::To(number) => {
                self.waiting.promised.borrow_mut().push((number, conn));
                None
            }
            Promise::Elsewhere => {
                drop(numbers);
                drop(conn);
                None
            }
            Promise::Nobody => Some(conn),
        }
    }
}

// === impl WaitingRoom ===

impl WaitingRoom {
    fn take(&self, number: u64) -> Option<Box<Connection>> {
        let mut promised = self.promised.borrow_mut();
        let at = promised.iter().position(|(whose, _)| *whose == number)?;
        Some(promised.swap_remove(at).1)
    }
}

// === impl Waiting ===

impl Waiting<'_> {
    /// The place that is granted within `limit`; `None` for a connection.
    pub(crate) async fn granted(&mut self, limit: Duration) -> Result<Option<Place>, Overflow> {
        match timeout(limit, &mut self.grant).await {
            Ok(Ok(Grant::Place(place))) => Ok(Some(place)),
            Ok(Ok(Grant::Connection) | Err(_)) => Ok(None),
            Err(_) => Err(self.home.breaker.gave_up()),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let room = &self.home.waiting;
        self.home.breaker.leave(self.number);
        let mut numbers = room.numbers.borrow_mut();
        // Most leave from the front.
        let at = numbers.iter().position(|it| *it == self.number);
        at.and_then(|at| numbers.remove(at));
        drop(numbers);
        if let Some(conn) = room.take(self.number) {
            self.home.take_back(conn);
        }
    }
}
