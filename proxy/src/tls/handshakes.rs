//! The handshakes of one worker that are under way. They are bounded, and whoever comes has a place
//! all the same: at the cost of the one that has waited longest, first of all of those whose address
//! has more places than its share. So whoever opens many connections and says nothing on them shuts
//! nobody out.

mod places;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use self::places::{Places, Source};
use crate::io::Io;
use crate::tls::server::HandshakeError;

/// Handshakes of one worker at once, so that clients who begin many and end none are bounded in
/// memory: each has some 20 KiB.
pub(crate) const HANDSHAKES_MAX: usize = 4_096;
/// Those of one address (of IPv6: one network of 64 bits) that others cannot be given up for. Many
/// clients may come by one address, so that more are let in while there is room.
const SHARE: usize = HANDSHAKES_MAX / 8;
/// Limit of the time in which a client may read why it was refused. Closing with bytes unread resets
/// the connection, and takes from the client what it has not read yet.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that are thrown away in that time.
const LINGER_BYTES_MAX: usize = 64 * 1024;
/// Size of a piece of what is thrown away, in bytes.
const LINGER_PIECE_BYTES: usize = 1024;

type Shared = Rc<RefCell<Places<Rc<Bell>>>>;

/// The handshakes of one worker that are under way.
#[derive(Debug)]
pub(crate) struct Handshakes(Shared);

/// One of them; it has its place until dropped.
#[derive(Debug)]
pub(crate) struct Shaking {
    places: Shared,
    /// Its place.
    turn: Cell<u64>,
    bell: Rc<Bell>,
    /// What is left of the connection once the handshake failed.
    rest: RefCell<Option<Io>>,
}

/// Tells a handshake that its place was given to another.
#[derive(Debug, Default)]
struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

// === impl Handshakes ===

impl Handshakes {
    /// One more with `client`, if it has an address; another may have to give way.
    pub(crate) fn begin(&self, client: Option<IpAddr>) -> Shaking {
        let bell = Rc::<Bell>::default();
        let taken = self
            .0
            .borrow_mut()
            .take(Source::of(client), Rc::clone(&bell));
        if let Some(other) = taken.instead_of {
            other.ring();
        }
        Shaking {
            places: Rc::clone(&self.0),
            turn: Cell::new(taken.turn),
            bell,
            rest: RefCell::default(),
        }
    }
}

impl Default for Handshakes {
    fn default() -> Self {
        let places = Places::new(HANDSHAKES_MAX, SHARE);
        Self(Rc::new(RefCell::new(places)))
    }
}

// === impl Shaking ===

impl Shaking {
    /// The client has said what it wants: those that have not are given up before it. It happens once,
    /// so that whoever sends byte by byte gains nothing.
    pub(crate) fn greeted(&self) {
        let renewed = self.places.borrow_mut().renew(self.turn.get());
        self.turn.set(renewed);
    }

    /// What comes of `work`, unless the place is given to another first.
    pub(crate) async fn unless_given_up<T>(
        &self,
        work: impl Future<Output = Result<T, HandshakeError>>,
    ) -> Result<T, HandshakeError> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            match self.bell.rung.get() {
                true => Poll::Ready(Err(HandshakeError::TooMany)),
                false => {
                    self.bell.waker.replace(Some(cx.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Refuses a client for `error` in `words` that it understands; if it does not listen there is
    /// nobody to tell.
    pub(crate) async fn refuse(
        &self,
        mut io: Io,
        words: &[u8],
        error: HandshakeError,
    ) -> HandshakeError {
        if io.write_all(words).await.is_ok() {
            self.keep(io);
        }
        error
    }

    /// Keeps what is left of a connection that was told why it is refused.
    pub(crate) fn keep(&self, io: Io) {
        self.rest.replace(Some(io));
    }

    /// Ends the connection so that the client can read why, if it was told.
    pub(crate) async fn part(self) {
        let Some(mut io) = self.rest.take() else {
            return;
        };
        let farewell = async {
            // A client that is gone learns nothing.
            let _ = discard(&mut io).await;
            Ok(())
        };
        let _ = timeout(LINGER_TIMEOUT, self.unless_given_up(farewell)).await;
    }
}

/// Ends our side and throws away what comes until the other side ends its own.
async fn discard(io: &mut Io) -> io::Result<()> {
    io.shutdown().await?;
    let mut piece = [0; LINGER_PIECE_BYTES];
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        match io.read(&mut piece).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.places.borrow_mut().leave(self.turn.get());
    }
}

// === impl Bell ===

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::duplex;

    use super::*;

    /// A handshake in which nothing happens.
    async fn waits(shaking: &Shaking) -> HandshakeError {
        let ended = shaking.unless_given_up(pending::<Result<(), _>>()).await;
        ended.expect_err("nothing happens")
    }

    #[tokio::test(flavor = "local")]
    async fn whoever_waited_longest_gives_way_and_is_told_so() {
        let handshakes = Handshakes::default();
        let address = |number: usize| Some(IpAddr::from((number as u32).to_be_bytes()));
        let first = Rc::new(handshakes.begin(address(0)));
        let waiting = Rc::clone(&first);
        let ended = tokio::task::spawn_local(async move { waits(&waiting).await.cause() });
        tokio::task::yield_now().await;
        let others: Vec<_> = (1..HANDSHAKES_MAX)
            .map(|number| handshakes.begin(address(number)))
            .collect();
        assert!(!ended.is_finished());

        let _last = handshakes.begin(address(HANDSHAKES_MAX));

        assert_eq!(ended.await.expect("no panic"), "tls_too_many_handshakes");
        assert!(!others[0].bell.rung.get());
        // What has no place any more takes none from others when it ends.
        drop(first);
        let _next = handshakes.begin(address(HANDSHAKES_MAX + 1));
        assert!(others[0].bell.rung.get());
    }

    #[tokio::test(flavor = "local")]
    async fn one_address_cannot_have_all_places_while_others_come() {
        let handshakes = Handshakes::default();
        let (many, few) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let patient = handshakes.begin(Some(few));
        let flood: Vec<_> = (0..3 * HANDSHAKES_MAX)
            .map(|_| handshakes.begin(Some(many)))
            .collect();

        assert!(!patient.bell.rung.get());
        let given_up = flood.iter().filter(|it| it.bell.rung.get()).count();
        assert_eq!(flood.len() - given_up, HANDSHAKES_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_for_ever_is_not_listened_to_for_ever() {
        let start = tokio::time::Instant::now();
        let (mut near, far) = duplex(64);
        let shaking = Handshakes::default().begin(None);
        shaking.keep(Io::Memory(far));

        let sends = async { while near.write_all(&[0; 64]).await.is_ok() {} };
        tokio::join!(shaking.part(), sends);

        assert_eq!(start.elapsed(), Duration::ZERO);
        let (_silent, far) = duplex(64);
        let shaking = Handshakes::default().begin(None);
        shaking.keep(Io::Memory(far));
        shaking.part().await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
    }
}
