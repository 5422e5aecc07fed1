//! Connections to upstreams that are opened before their clients have said anything: where servers
//! speak first, whoever waits for the client waits for ever.
//!
//! Where a connection goes must be known whatever it will say, and policies must let it in as it is. If
//! the client turns out to speak HTTP, the early connection is given up; nothing was sent on it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until};

use super::first_bytes::poll_more;
use crate::request::Downstream;
use crate::table::opaque::OpaqueRoute;
use crate::tcp::{self, Opened};
use crate::upstream::connect::ConnectError;
use crate::upstream::destination::Destination;
use crate::upstream::{TcpLimits, UpstreamError};
use crate::worker::Worker;

/// How long the client is waited for where most clients so far spoke HTTP, which costs a connection of its
/// own. A client that has something to say says it at once; one that has not waits no longer than this.
pub(super) const HTTP_GRACE: Duration = Duration::from_millis(20);
/// How long the client is waited for at a port that takes both mutual TLS and plain text. Who speaks TLS
/// begins as soon as it is connected, so that its greeting takes less than a round trip after it was
/// accepted; this is more than the longest on earth without a loss. Only clients in plain text that wait for
/// their server are kept waiting.
pub(super) const PERMISSIVE_GRACE: Duration = Duration::from_millis(100);
/// How long the client is waited for where it depends on the name in TLS where a connection goes. Later it
/// is taken for one without TLS.
pub(super) const NAME_GRACE: Duration = Duration::from_millis(200);
/// How long the client is waited for when nobody could be connected: HTTP has an answer for it.
const FAILED_GRACE: Duration = Duration::from_millis(20);

/// A connection that is opened early, or is to be.
pub(super) struct Early<'e> {
    worker: &'e Rc<Worker>,
    downstream: &'e Downstream,
    pub(super) route: Arc<OpaqueRoute>,
    pub(super) destination: Arc<Destination>,
    /// The generation that the route is of.
    pub(super) generation: u64,
    state: State<'e>,
}

type Opening<'e> = Pin<Box<dyn Future<Output = Result<Opened, UpstreamError>> + 'e>>;

enum State<'e> {
    /// It is opened at this time.
    Waiting(Instant),
    Opening(Opening<'e>),
    Open {
        opened: Box<Opened>,
        /// What the other side has said.
        read: BytesMut,
    },
    /// There is none, since then.
    Failed(UpstreamError, Instant),
}

/// What came of waiting for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It has spoken, or ended the connection.
    Spoke,
    /// There is no connection to it.
    Failed,
}

/// How an early connection came out.
pub(super) struct Met {
    pub(super) route: Arc<OpaqueRoute>,
    pub(super) generation: u64,
    pub(super) early: tcp::Early,
}

// === impl Early ===

impl<'e> Early<'e> {
    /// One to where `route` leads that is opened after `grace`, or later if that is better.
    pub(super) fn after(
        grace: Duration,
        (worker, downstream): (&'e Rc<Worker>, &'e Downstream),
        (route, generation): (&Arc<OpaqueRoute>, u64),
        destination: Arc<Destination>,
    ) -> Self {
        let grace = match destination.live.spoken.is_http() {
            true => grace.max(HTTP_GRACE),
            false => grace,
        };
        Self {
            worker,
            downstream,
            route: Arc::clone(route),
            destination,
            generation,
            state: State::Waiting(Instant::now() + grace),
        }
    }

    /// How long both sides may be silent.
    pub(super) fn idle(&self) -> Option<Duration> {
        TcpLimits::of(&self.destination.policy).idle
    }

    /// Waits for the other side.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn answered(&mut self) -> Answered {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Opening(self.opening());
                }
                State::Opening(opening) => {
                    let opened = opening.await;
                    self.came_out(opened);
                }
                State::Open { opened, read } => {
                    let spoke = poll_fn(|cx| poll_more(&mut opened.alone.io, read, cx)).await;
                    match spoke {
                        Ok(_) => return Answered::Spoke,
                        Err(error) => {
                            let error = UpstreamError::Connect(ConnectError::Io(error));
                            self.came_out(Err(error));
                        }
                    }
                }
                State::Failed(_, since) => {
                    sleep_until(*since + FAILED_GRACE).await;
                    return Answered::Failed;
                }
            }
        }
    }

    /// The connection, as soon as it is there, or why there is none.
    pub(super) async fn met(self) -> Met {
        let (opened, read) = match self.state {
            State::Waiting(_) => (self.opening().await, BytesMut::new()),
            State::Opening(opening) => (opening.await, BytesMut::new()),
            State::Open { opened, read } => (Ok(*opened), read),
            State::Failed(error, _) => (Err(error), BytesMut::new()),
        };
        Met {
            route: self.route,
            generation: self.generation,
            early: tcp::Early {
                destination: self.destination,
                opened,
                read,
            },
        }
    }

    /// Ends the connection, on which nothing was said.
    pub(super) fn give_up(self) {
        match self.state {
            State::Open { opened, .. } => opened.alone.give_up(),
            State::Waiting(_) | State::Opening(_) | State::Failed(..) => {}
        }
    }

    /// Whether nothing was done yet.
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    fn opening(&self) -> Opening<'e> {
        Box::pin(tcp::open(
            self.worker,
            self.downstream,
            Arc::clone(&self.destination),
            self.route.carriage,
        ))
    }

    fn came_out(&mut self, opened: Result<Opened, UpstreamError>) {
        self.state = match opened {
            Ok(opened) => State::Open {
                opened: Box::new(opened),
                read: BytesMut::new(),
            },
            Err(error) => State::Failed(error, Instant::now()),
        };
    }
}
