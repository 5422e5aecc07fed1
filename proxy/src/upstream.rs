//! One attempt: pick an endpoint, take or make a connection, send, and report how it went.

pub(crate) mod alone;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod caller;
pub(crate) mod complaints;
pub mod connect;
pub mod destination;
pub mod dns;
pub mod endpoint;
pub mod error;
pub mod health;
pub mod http1;
pub mod http2;
pub mod idle_limit;
pub mod original;
mod outgoing;
pub mod outlier;
pub mod pool;
pub mod question;
pub mod spoken;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Response, Version, header};
use http_body::Body as _;

use crate::body::Body;
use crate::body::replay::Kept;
use crate::message::spelling::Spelling;
use crate::request::limits;
use crate::request::retry::Refusal;
use crate::table::retry::{Asked, Cause};
use crate::telemetry::metrics::{FaultCounters, Metrics, Proved, Side};
use crate::tls::client::{Channel, Secured, Speech, TlsError, refusal};
use balance::Wish;
use breaker::{Place, UnderWay};
use caller::Caller;
use connect::{ConnectError, Connector, Fresh, Open, Wanted};
pub(crate) use destination::TcpLimits;
use destination::{Destination, Protocol, TcpProbes};
use endpoint::{Active, Member};
use error::Reached;
pub use error::UpstreamError;
use http1::{BodyFraming, Connection, Exchange, ExchangeError, RequestHead, Switched, encode_head};
use http2::{Stream, Terms};
pub use outgoing::Outgoing;
pub(crate) use outgoing::Sending;
use outlier::Event;
use pool::{Claim, Home, Limits, Pool, Rested, Way};

/// Buffers for request heads that a worker keeps.
const KEPT_HEADS_MAX: usize = 64;
/// Largest such buffer in bytes.
const KEPT_HEAD_BYTES_MAX: usize = 8 * 1024;

/// A reused connection that fails later than this after a request began did not die of idleness: the
/// upstream had the request, and may have worked on it.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// The upstream side of one worker.
#[derive(Debug)]
pub struct Upstream {
    /// Its connections.
    pub pool: Pool,
    connector: Connector,
    rng: RefCell<fastrand::Rng>,
    /// Bytes of bodies that are kept for other attempts.
    pub(crate) kept: Rc<Kept>,
    /// Memory for request heads, used again and again.
    heads: RefCell<Vec<Vec<u8>>>,
    metrics: Arc<Metrics>,
    /// Limits of the heads of answers.
    pub(crate) limits: limits::Limits,
}

/// One of the attempts of a request.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Counts from 1.
    pub(crate) number: u32,
    /// Set once it is the endpoint that is awaited, and no limit of our own.
    pub(crate) awaits_endpoint: &'a Cell<bool>,
    /// Whom connections are opened for, where endpoints are told; none if it is ourselves.
    pub(crate) caller: Option<&'a Rc<Caller>>,
}

/// The answer of an attempt.
#[derive(Debug)]
pub struct Answer {
    /// Head and body.
    pub response: Response<Body>,
    /// What is held until the answer is complete.
    pub hold: Option<Hold>,
    /// How an HTTP/1 head was written.
    pub(crate) spelling: Option<Spelling>,
    /// Whom its sender proved to be.
    pub(crate) peer: Option<Rc<Proved>>,
}

/// What a request occupies until its answer is complete.
#[derive(Debug)]
pub struct Hold {
    /// Counts it as under way at its endpoint.
    _active: Active,
    /// Its place on an HTTP/2 connection.
    _stream: Option<Stream>,
    /// Counts it among the requests of its destination, where those are limited.
    _under_way: Option<UnderWay>,
}

/// An answer, and what its request occupies until it is complete.
struct Sent {
    answer: Box<Answer>,
    stream: Option<Stream>,
    under_way: Option<UnderWay>,
}

/// A connection for one exchange.
struct Taken {
    conn: Box<Connection>,
    /// How long it had rested; none if it is new.
    rest: Option<Duration>,
    /// When it was taken.
    began: Instant,
    under_way: Option<UnderWay>,
}

/// How a connection to an endpoint is opened.
struct How<'h> {
    channel: &'h Channel,
    speech: Speech,
    /// Whom it is for, where endpoints are told; none if it is ourselves.
    caller: Option<&'h Rc<Caller>>,
}

// === impl How ===

impl<'h> How<'h> {
    /// As the endpoint's place asks.
    fn of(member: &'h Member, attempt: &Attempt<'h>, speech: Speech) -> Self {
        Self {
            channel: &member.channel,
            speech,
            caller: attempt.caller,
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// An upstream side with no connection yet.
    pub fn new(connector: Connector, metrics: Arc<Metrics>) -> Self {
        Self {
            pool: Pool::default(),
            connector,
            rng: RefCell::new(fastrand::Rng::new()),
            kept: Rc::default(),
            heads: RefCell::default(),
            metrics,
            limits: limits::Limits::default(),
        }
    }

    /// A number for draws.
    pub(crate) fn random(&self) -> u64 {
        self.rng.borrow_mut().u64(..)
    }

    /// A number of 128 bits for identifiers.
    pub(crate) fn random_wide(&self) -> u128 {
        self.rng.borrow_mut().u128(..)
    }

    /// Counters of injected faults.
    pub(crate) fn faults(&self) -> &FaultCounters {
        &self.metrics.process.faults
    }

    /// Counts a retry by its cause, and whether it may do a thing twice.
    pub(crate) fn count_retry(&self, cause: Cause, asked: Asked) {
        self.metrics.process.retries.made(cause, asked).inc();
    }

    /// Counts a retry that was not made.
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.metrics.process.retries.refused(refusal).inc();
    }

    /// The endpoint for an attempt.
    pub(crate) fn pick<'d>(
        &self,
        destination: &'d Destination,
        wish: &Wish<'_>,
    ) -> Result<&'d Member, UpstreamError> {
        let mut rng = self.rng.borrow_mut();
        let picked = destination.balancer.pick(&destination.live, &mut rng, wish);
        picked.ok_or(UpstreamError::NoEndpoint)
    }

    /// Sends what is of our own making, once: to an endpoint for a request with this `key`, if it has
    /// one.
    pub(crate) async fn send_once(
        &self,
        destination: &Destination,
        key: Option<u64>,
        outgoing: &mut Outgoing,
    ) -> Result<Box<Answer>, UpstreamError> {
        let wish = Wish {
            key,
            ..Wish::default()
        };
        let member = self.pick(destination, &wish)?;
        let awaits_endpoint = Cell::default();
        let attempt = Attempt {
            number: 1,
            awaits_endpoint: &awaits_endpoint,
            caller: None,
        };
        let result = self.send(destination, member, outgoing, &attempt).await;
        if let Some(rules) = destination.policy.outlier.as_deref()
            && awaits_endpoint.get()
            && let Some(event) = Event::of(&result, false)
        {
            let now = tokio::time::Instant::now();
            outlier::observe(rules, destination, member, event, now);
        }
        result
    }

    /// Sends `outgoing` to one endpoint and returns the head of its answer.
    pub(crate) async fn send(
        &self,
        destination: &Destination,
        member: &Member,
        outgoing: &mut Outgoing,
        attempt: &Attempt<'_>,
    ) -> Result<Box<Answer>, UpstreamError> {
        let policy = &destination.policy;
        let active = member.endpoint.begin();
        let limits = Limits::of(policy);
        let breaker = &destination.live.breaker;
        let way = Way {
            channel: member.channel.id(),
            caller: attempt.caller,
        };
        let home = self.pool.home(&member.endpoint, way, breaker, limits);
        let http2 = match policy.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::AsDownstream => outgoing.head.version == Version::HTTP_2,
        };
        let sent = if outgoing.head.method == Method::CONNECT {
            Box::pin(self.open_tunnel(destination, member, &home, attempt)).await
        // Only HTTP/1.1 can switch to another protocol.
        } else if http2 && outgoing.upgrade.is_none() {
            Box::pin(self.send_http2(destination, member, home, outgoing, attempt)).await
        } else {
            self.send_http1(destination, member, home, outgoing, attempt)
                .await
        };
        match sent {
            Ok(Sent {
                mut answer,
                stream,
                under_way,
            }) => {
                answer.hold = Some(Hold {
                    _active: active,
                    _stream: stream,
                    _under_way: under_way,
                });
                Ok(answer)
            }
            Err(error) => {
                // What the endpoint never saw is neither its request nor its failure.
                if let UpstreamError::Overflow(_) = error {
                    member.endpoint.unsent();
                } else {
                    member.endpoint.failed();
                }
                Err(error)
            }
        }
    }

    async fn open_tunnel(
        &self,
        destination: &Destination,
        member: &Member,
        home: &Rc<Home>,
        attempt: &Attempt<'_>,
    ) -> Result<Sent, UpstreamError> {
        let (place, pending) = alone::own_place(destination, home).await?;
        let thresholds = &destination.policy.thresholds;
        let under_way = home.breaker.begin(thresholds)?;
        attempt.awaits_endpoint.set(true);
        let how = How::of(member, attempt, Speech::Opaque);
        let fresh = self.connect(destination, member, place, how);
        let conn = Connection::new(fresh.await?);
        drop(pending);
        let mut answer = Answer::new(Response::new(Body::Empty), None);
        answer.peer = conn.peer();
        *answer.response.body_mut() = Body::Tunnel(Box::new(Switched::connected(conn)));
        Ok(Sent {
            answer,
            stream: None,
            under_way,
        })
    }

    /// A connection for an exchange: one that rests, if `reuses`, or a new one.
    async fn take(
        &self,
        destination: &Destination,
        member: &Member,
        home: &Home,
        reuses: bool,
        attempt: &Attempt<'_>,
    ) -> Result<Taken, UpstreamError> {
        let mut began = Instant::now();
        let thresholds = &destination.policy.thresholds;
        let claim = match home.claim(thresholds, reuses, began)? {
            Some(claim) => claim,
            None => {
                let limit = destination.policy.connect_timeout;
                let claim = Box::pin(home.wait(thresholds, limit)).await?;
                began = Instant::now();
                claim
            }
        };
        let under_way = match home.breaker.begin(thresholds) {
            Ok(under_way) => under_way,
            Err(overflow) => {
                if let Claim::Rested(rested) = claim {
                    home.put_back(rested);
                }
                return Err(overflow.into());
            }
        };
        attempt.awaits_endpoint.set(true);
        let (conn, rest) = match claim {
            Claim::Rested(Rested { conn, rest }) => (conn, Some(rest)),
            Claim::Open(place, _pending) => {
                // In a box: it is large, and most requests find a connection.
                let how = How::of(member, attempt, Speech::Http1);
                let fresh = self.connect(destination, member, place, how);
                (Connection::new(Box::pin(fresh).await?), None)
            }
        };
        Ok(Taken {
            conn,
            rest,
            began,
            under_way,
        })
    }

    async fn send_http1(
        &self,
        destination: &Destination,
        member: &Member,
        home: Rc<Home>,
        outgoing: &mut Outgoing,
        attempt: &Attempt<'_>,
    ) -> Result<Sent, UpstreamError> {
        // What is repeated because a connection had been closed is not left to another such one.
        let reuses = !outgoing.sending.wants_fresh;
        let Taken {
            conn,
            rest,
            began,
            under_way,
        } = self
            .take(destination, member, &home, reuses, attempt)
            .await?;
        let has_body = !outgoing.body.is_end_stream();
        let framing = match has_body {
            false => BodyFraming::Empty,
            true if outgoing.head.headers.contains_key(header::CONTENT_LENGTH) => {
                BodyFraming::Length
            }
            true => BodyFraming::Chunked,
        };
        let mut head = self.heads.borrow_mut().pop().unwrap_or_default();
        encode_head(
            &mut head,
            &RequestHead {
                method: &outgoing.head.method,
                target: outgoing.target(),
                authority: outgoing.authority.as_bytes(),
                headers: &outgoing.head.headers,
                spelling: outgoing.spelling.as_ref(),
                upgrade: outgoing.upgrade.as_ref(),
                own: &outgoing.own,
                attempt: attempt.number,
                body: framing,
                close: destination.policy.requests_per_connection_max == 1,
            },
        );
        let expects_continue = has_body && outgoing.expects_continue();
        let distrusted = Rc::clone(&home);
        let exchange = Exchange {
            method: &outgoing.head.method,
            head: &head,
            chunked: framing == BodyFraming::Chunked,
            body: &mut outgoing.body,
            expects_continue,
            upgrade: outgoing.upgrade.as_ref(),
            interim: outgoing.interim.as_deref(),
            limits: &self.limits,
            home,
        };
        let result = conn.exchange(exchange).await;
        self.keep_head(head);
        let answer = result.map_err(|source| {
            let error = self.failed(source, rest.map(|_| began));
            if let UpstreamError::Connect(error) = &error {
                complain(destination, member, error);
            }
            if let Some(rest) = rest.filter(|_| error.closed_while_idle()) {
                distrusted.distrust(rest, Instant::now());
            }
            error
        })?;
        Ok(Sent {
            answer,
            stream: None,
            under_way,
        })
    }

    /// What an exchange that failed comes to, on a connection that was taken from its rest at a time,
    /// if it is not new.
    fn failed(&self, source: ExchangeError, rested: Option<Instant>) -> UpstreamError {
        if let Some(alert) = refusal(&source).filter(|_| rested.is_none()) {
            let error = TlsError::Refused(alert);
            let tls = &self.metrics.process.tls;
            tls.failed(Side::Upstream, error.reason());
            return UpstreamError::Connect(ConnectError::Tls(error));
        }
        UpstreamError::Exchange {
            unsent: matches!(source, ExchangeError::Io { unsent: true, .. }),
            reused: rested.is_some_and(|began| began.elapsed() <= STALE_WITHIN),
            source,
        }
    }

    /// Keeps the memory of a head for the next one, within bounds.
    fn keep_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < KEPT_HEADS_MAX && head.capacity() <= KEPT_HEAD_BYTES_MAX {
            head.clear();
            heads.push(head);
        }
    }

    async fn send_http2(
        &self,
        destination: &Destination,
        member: &Member,
        home: Rc<Home>,
        outgoing: &mut Outgoing,
        attempt: &Attempt<'_>,
    ) -> Result<Sent, UpstreamError> {
        let open = async |place| {
            attempt.awaits_endpoint.set(true);
            let how = How::of(member, attempt, Speech::Http2);
            self.connect(destination, member, place, how).await
        };
        let terms = Terms::of(&destination.policy);
        // Refused before it takes a stream, which would wear the connection. If there is room after all
        // by now, what this counts is given back at once.
        if home.breaker.is_busy(&terms.thresholds) {
            home.breaker.begin(&terms.thresholds)?;
        }
        let stream = home.http2.stream(&home, &terms, open).await?;
        let under_way = home.breaker.begin(&terms.thresholds)?;
        attempt.awaits_endpoint.set(true);
        let (rested, began) = (stream.rested(), Instant::now());
        let request = outgoing.take_as_http2(attempt.number, member.channel.scheme());
        match stream.send(request).await {
            Ok(response) => {
                let mut answer = Answer::new(response.map(Body::Incoming), None);
                answer.peer = stream.peer();
                Ok(Sent {
                    answer,
                    stream: Some(stream),
                    under_way,
                })
            }
            Err(failed) => Err(UpstreamError::Stream {
                reached: match (&failed.body, failed.unsent) {
                    (Some(_), _) => Reached::Nobody,
                    (None, true) => Reached::Refused,
                    (None, false) => Reached::Upstream,
                },
                rested: rested && began.elapsed() <= STALE_WITHIN,
                fault: failed.fault,
                source: failed.source,
            }),
        }
    }

    /// Opens a connection as the policy of its destination asks.
    async fn connect(
        &self,
        destination: &Destination,
        member: &Member,
        place: Place,
        how: How<'_>,
    ) -> Result<Fresh, UpstreamError> {
        let policy = &destination.policy;
        let probes = policy.tcp_keepalive.map(TcpProbes::as_option);
        let caller = how.caller.map(Rc::as_ref);
        let header = policy.proxy_protocol.map(|it| it.header(caller));
        let wanted = Wanted {
            addr: &member.endpoint.addr,
            channel: how.channel,
            speech: how.speech,
            limit: policy.connect_timeout,
            probes: probes.as_ref(),
            from_own: policy.from_own,
            header: header.as_deref(),
        };
        let process = &self.metrics.process;
        let reached = self.connector.reach(wanted).await;
        process.tls.reached(&reached);
        match reached {
            Ok(Secured { io, peer, .. }) => {
                process.upstream_connections.ok.inc();
                let gauge = &process.upstream_connections_active;
                Ok(Fresh {
                    io,
                    open: Open::new(gauge, Some(place)),
                    peer: peer.map(|id| Rc::new(Proved::upstream(id))),
                })
            }
            Err(error) => {
                process.upstream_connections.failed.inc();
                complain(destination, member, &error);
                Err(UpstreamError::Connect(error))
            }
        }
    }
}

/// Tells now and then that connections of a destination cannot be secured, and why.
fn complain(destination: &Destination, member: &Member, error: &ConnectError) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    if !destination.live.complaints.tells(error.fault(), now) {
        return;
    }
    let (destination, endpoint) = (&destination.key, &member.endpoint.addr);
    let error = match error {
        ConnectError::Tls(error) => error.to_string(),
        other => other.to_string(),
    };
    tracing::warn!(%destination, %endpoint, error, "connections to an upstream cannot be secured");
}

// === impl Answer ===

impl Answer {
    /// In a box from the beginning, because it is handed on by every stage of an attempt.
    pub(crate) fn new(response: Response<Body>, spelling: Option<Spelling>) -> Box<Self> {
        Box::new(Self {
            response,
            hold: None,
            spelling,
            peer: None,
        })
    }
}
