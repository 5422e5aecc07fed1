//! Following one control plane after another: what is subscribed, what is received, and what is said
//! of it.

mod open;
mod receive;

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use config::wire;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::book::SWEEP_INTERVAL;
use super::connect::{ConnectError, Connector, Messages, refusal};
use super::message::{Node, Request};
use super::replicas::{Order, Target};
use super::store::{Share, TooMany};
use super::{Around, Shared};
use crate::protobuf::{Frames, Malformed};
use crate::telemetry::causes::chain;

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Largest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Longest wait for what was only told in part, and for the next answer to a demand: whoever takes
/// longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait until a message can be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that was shorter did not serve, whatever it told.
const SERVED_MIN: Duration = Duration::from_secs(1);
/// Changes that come within this time of each other are compiled together.
const QUIET: Duration = Duration::from_millis(10);
/// But none waits for longer.
const QUIET_MAX: Duration = Duration::from_millis(100);
/// The same while more is known to come: a service must not be in use before its endpoints are.
const INCOMPLETE_MAX: Duration = Duration::from_millis(500);
/// Both shares of what is held.
const SHARES: [Share; 2] = [Share::Resources, Share::Endpoints];

/// Follows control planes.
pub(super) struct Follower {
    shared: Shared,
    connector: Connector,
    node: Node,
    around: Around,
    begin: watch::Sender<bool>,
    order: Order,
    /// Changes that are not compiled yet: when the first and the last came.
    changes: Option<(Instant, Instant)>,
}

/// A stream on its way.
struct Stream {
    sender: mpsc::Sender<Bytes>,
    /// When it began, or told something of what is held.
    told_at: Instant,
    /// Which shares it has told whole.
    told: [bool; 2],
    /// Since when an answer is awaited; none if there is no demand without one.
    awaits: Option<Instant>,
    /// When to look at what is still used.
    sweep_at: Instant,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("receive")]
    Receive(#[from] hyper::Error),
    #[error("it sent what is no response")]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("it ended the stream")]
    End,
    #[error("it takes no messages")]
    Stuck,
    #[error("it does not answer")]
    Silent,
}

// === impl Follower ===

impl Follower {
    pub(super) fn new(
        shared: Shared,
        connector: Connector,
        node: Node,
        around: Around,
        begin: watch::Sender<bool>,
    ) -> Self {
        Self {
            shared,
            connector,
            node,
            around,
            begin,
            order: Order::default(),
            changes: None,
        }
    }

    /// Follows one control plane after another, for ever.
    pub(super) async fn run(mut self) {
        loop {
            match self.connector.targets().await {
                Ok(targets) => self.order.begin(targets, fastrand::shuffle),
                Err(error) => self.failed(None, &error.into()),
            }
            while let Some(target) = self.order.next() {
                let begun = Instant::now();
                let Err(ended) = self.follow(&target).await;
                self.failed(Some(&target), &ended);
                if begun.elapsed() >= SERVED_MIN && ended.follows_service() {
                    self.order.served();
                }
            }
            sleep(self.order.failed(fastrand::f64())).await;
        }
    }

    /// Notes that there is no control plane any more, and says why, unless it was said already.
    fn failed(&mut self, target: Option<&Target>, ended: &Ended) {
        let error = chain(ended);
        let mut state = self.shared.locked();
        let was_connected = state.standing.connected.take().is_some();
        let is_new = was_connected || state.standing.last_error.as_ref() != Some(&error);
        state.standing.last_error = Some(error.clone());
        drop(state);
        self.around.demands.note_connected(false);
        self.around.counters.connected.set(0);
        self.around.counters.failures.inc();
        let address = target.map(|it| tracing::field::display(it.addr));
        match is_new {
            true => tracing::warn!(
                address,
                error,
                "no control plane; going on with what it told"
            ),
            false => tracing::debug!(address, error, "no control plane"),
        }
        // What came until then counts.
        self.compile();
    }

    /// Follows one until it ends.
    async fn follow(&mut self, target: &Target) -> Result<Infallible, Ended> {
        let mut connection = self.connector.connect(target).await?;
        let (sender, messages) = Messages::channel();
        let mut stream = Stream::new(sender);
        // Together, as more may be to be said than may wait until somebody reads it.
        let called = self.connector.call(&mut connection, PATH, messages);
        let (opened, called) = tokio::join!(self.open(&mut stream), called);
        let mut body = called?;
        opened?;
        self.connected(target);
        let mut frames = Frames::new(MESSAGE_BYTES_MAX);
        loop {
            let demands = self.around.demands.clone();
            tokio::select! {
                frame = body.frame() => match frame {
                    None => return Err(Ended::End),
                    Some(frame) => match frame?.into_data() {
                        Ok(data) => {
                            frames.push(&data);
                            while let Some(message) = frames.next()? {
                                self.receive(&mut stream, &message).await?;
                            }
                        }
                        Err(frame) => {
                            if let Some(trailers) = frame.trailers_ref() {
                                refusal(trailers)?;
                            }
                        }
                    },
                },
                () = demands.asked() => self.demand(&mut stream).await?,
                () = sleep_until(stream.sweep_at) => self.sweep(&mut stream).await?,
                () = until(self.due(&stream)) => self.compile(),
                () = until(stream.hangs_at()) => return Err(Ended::Silent),
            }
        }
    }

    fn connected(&mut self, target: &Target) {
        tracing::info!(control = %target.replica, address = %target.addr, "control plane connected");
        let name = format!("{} at {}", target.replica, target.addr);
        let mut state = self.shared.locked();
        state.standing.connected = Some((name, SystemTime::now()));
        self.around.demands.note_connected(true);
        self.around.counters.connected.set(1);
        self.around.counters.connects.inc();
    }

    /// Adds what requests want to reach to the book; says what is new in it.
    fn take_demands(&self) -> Vec<String> {
        let demands = self.around.demands.take();
        // Whoever looked just before an answer was published has it by now.
        let snapshot = self.around.publisher.current();
        let known = demands.iter().filter(|it| snapshot.answered.has(it));
        self.around.demands.forget(known);
        let now = Instant::now();
        let mut state = self.shared.locked();
        let new = demands
            .into_iter()
            .filter(|it| state.book.add(it.clone(), now));
        new.map(|demand| demand.to_string()).collect()
    }

    /// Asks for what requests want to reach.
    async fn demand(&mut self, stream: &mut Stream) -> Result<(), Ended> {
        let subscribe = self.take_demands();
        if subscribe.is_empty() {
            return Ok(());
        }
        stream.awaits.get_or_insert_with(Instant::now);
        let request = Request {
            type_url: wire::DEMANDS,
            subscribe,
            ..Request::default()
        };
        stream.send(&request).await
    }

    /// Gives up what is not used any more.
    async fn sweep(&mut self, stream: &mut Stream) -> Result<(), Ended> {
        stream.sweep_at = Instant::now() + SWEEP_INTERVAL;
        let snapshot = self.around.publisher.current();
        let (given_up, count) = {
            let mut state = self.shared.locked();
            let given_up = state.sweep(&snapshot, Instant::now());
            (given_up, state.count())
        };
        self.around
            .counters
            .demands(count.found, count.unknown, count.pending);
        if given_up.is_empty() {
            return Ok(());
        }
        tracing::debug!(count = given_up.len(), "demands given up");
        self.around.demands.forget(given_up.iter());
        self.note_change();
        self.shared.changed.send_replace(());
        let request = Request {
            type_url: wire::DEMANDS,
            unsubscribe: given_up.iter().map(ToString::to_string).collect(),
            ..Request::default()
        };
        stream.send(&request).await
    }

    fn note_change(&mut self) {
        let now = Instant::now();
        let first = self.changes.map_or(now, |(first, _)| first);
        self.changes = Some((first, now));
    }

    /// When to compile; never while nothing changed.
    fn due(&self, stream: &Stream) -> Option<Instant> {
        let (first, last) = self.changes?;
        Some(match stream.is_complete() && stream.awaits.is_none() {
            true => (last + QUIET).min(first + QUIET_MAX),
            false => first + INCOMPLETE_MAX,
        })
    }

    /// Has changes compiled.
    fn compile(&mut self) {
        if self.changes.take().is_some() {
            // A signal that waits stands for this one, too.
            let _ = self.around.reload.try_send(());
        }
    }
}

// === impl Ended ===

impl Ended {
    /// Whether it may have served well until then, so that another one is tried at once.
    fn follows_service(&self) -> bool {
        match self {
            Self::End | Self::Receive(_) => true,
            // Also says so who has served for long and wants proxies to spread anew.
            Self::Connect(error) => matches!(error, ConnectError::Refused { .. }),
            Self::Malformed(_) | Self::TooMany(_) | Self::Stuck | Self::Silent => false,
        }
    }
}

// === impl Stream ===

impl Stream {
    fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self {
            sender,
            told_at: Instant::now(),
            told: [false; 2],
            awaits: None,
            sweep_at: Instant::now() + SWEEP_INTERVAL,
        }
    }

    /// Whether everything was told.
    fn is_complete(&self) -> bool {
        self.told.iter().all(|told| *told)
    }

    /// It told something of what is held: the last of it or a part.
    fn heard(&mut self, share: Share, is_whole: bool, now: Instant) {
        let was_whole = std::mem::replace(&mut self.told[share as usize], is_whole);
        self.told_at = now;
        // Answers come after what they are about. Other news do not stand for one.
        if let Some(since) = &mut self.awaits
            && !(was_whole && is_whole)
        {
            *since = now;
        }
    }

    /// When it is to be given up; never while nothing is awaited.
    fn hangs_at(&self) -> Option<Instant> {
        let more = (!self.is_complete()).then_some(self.told_at);
        let awaited = more.into_iter().chain(self.awaits).min();
        awaited.map(|since| since + ANSWER_TIMEOUT)
    }

    async fn send(&self, request: &Request<'_>) -> Result<(), Ended> {
        match timeout(SEND_TIMEOUT, self.sender.send(request.framed())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::End),
            Err(_) => Err(Ended::Stuck),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_parts_puts_off_when_an_answer_must_be_there() {
        let mut stream = Stream::new(mpsc::channel(1).0);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        stream.awaits = Some(start);

        for second in [9, 18, 27] {
            stream.heard(Share::Resources, false, at(second));
            assert_eq!(stream.hangs_at(), Some(at(second) + ANSWER_TIMEOUT));
        }
        stream.heard(Share::Resources, true, at(28));
        stream.heard(Share::Endpoints, true, at(29));
        assert_eq!(stream.hangs_at(), Some(at(29) + ANSWER_TIMEOUT));
        stream.heard(Share::Endpoints, true, at(35));
        let hangs_at = stream.hangs_at();
        assert_eq!(hangs_at, Some(at(29) + ANSWER_TIMEOUT), "no answer");
    }
}
