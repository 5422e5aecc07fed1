//! How long ago the API server was heard of.
//!
//! A replica that is cut off has what it was told last, which may be old by hours. The proxies it has
//! keep what they have; those that come would be taken back to it. A watch without news says nothing,
//! so what counts is each answer that it gets: a watch ends by itself and is begun again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::client::Body;
use tower::service_fn;

use super::watch::WATCH_SECONDS_MAX;

/// How long a watch may be without an answer before what we know counts as old, unless another time is
/// asked for: twice the longest life of a request.
pub const SILENCE_MAX: Duration = Duration::from_secs(2 * WATCH_SECONDS_MAX as u64);

/// When each watch heard of the API server last. Copies are of the same watches.
#[derive(Debug, Clone)]
pub struct Contact {
    heard: Arc<Mutex<Vec<Instant>>>,
    /// How long one of them may be silent.
    silence_max: Duration,
}

/// What one watch says of itself.
#[derive(Debug, Clone)]
pub(super) struct Line {
    contact: Contact,
    place: usize,
}

// === impl Contact ===

impl Default for Contact {
    fn default() -> Self {
        Self::within(SILENCE_MAX)
    }
}

impl Contact {
    /// Of no watch yet; each may be silent for as long as `silence_max`.
    pub fn within(silence_max: Duration) -> Self {
        Self {
            heard: Arc::default(),
            silence_max,
        }
    }

    /// Whether each watch heard of the API server lately. Where nothing is watched nothing is old.
    pub fn is_kept(&self, now: Instant) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |last: &Instant| now.saturating_duration_since(*last) > self.silence_max;
        !heard.iter().any(silent)
    }

    /// Longest life of one request of a watch, in seconds, so that one that is well is never silent for
    /// too long: it is begun anew twice in that time.
    pub(super) fn watch_seconds_max(&self) -> u32 {
        let half = u32::try_from(self.silence_max.as_secs() / 2).unwrap_or(u32::MAX);
        half.clamp(1, WATCH_SECONDS_MAX)
    }

    /// Another watch, which begins now.
    pub(super) fn line(&self, now: Instant) -> Line {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(now);
        Line {
            contact: self.clone(),
            place: heard.len() - 1,
        }
    }
}

// === impl Line ===

impl Line {
    /// The API server said something.
    pub(super) fn heard(&self, now: Instant) {
        let heard = self.contact.heard.lock();
        let mut heard = heard.unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = heard.get_mut(self.place) {
            *last = now;
        }
    }

    /// The same client, each success of which is noted.
    pub(super) fn through(&self, client: &Client) -> Client {
        let (line, inner) = (self.clone(), client.clone());
        let send = move |request: http::Request<Body>| {
            let (line, inner) = (line.clone(), inner.clone());
            async move {
                let response = inner.send(request).await?;
                if response.status().is_success() {
                    line.heard(Instant::now());
                }
                Ok::<_, kube::Error>(response)
            }
        };
        Client::new(service_fn(send), client.default_namespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_watch_that_is_silent_for_too_long_makes_all_old() {
        let start = Instant::now();
        let contact = Contact::default();
        assert!(contact.is_kept(start + 9 * SILENCE_MAX), "no watch");
        let (first, second) = (contact.line(start), contact.line(start));
        let moment = Duration::from_millis(1);

        first.heard(start + SILENCE_MAX);
        assert!(contact.is_kept(start + SILENCE_MAX));
        assert!(!contact.is_kept(start + SILENCE_MAX + moment));

        second.heard(start + SILENCE_MAX + moment);
        assert!(contact.is_kept(start + 2 * SILENCE_MAX));
    }

    #[test]
    fn a_watch_is_begun_anew_twice_in_the_time_for_which_it_may_be_silent() {
        for (silence_max, expected) in [(10, 5), (120, 60), (3_600, 60)] {
            let contact = Contact::within(Duration::from_secs(silence_max));
            assert_eq!(contact.watch_seconds_max(), expected, "{silence_max}");
        }
        let start = Instant::now();
        let contact = Contact::within(Duration::from_secs(10));
        let _line = contact.line(start);
        assert!(contact.is_kept(start + Duration::from_secs(10)));
        assert!(!contact.is_kept(start + Duration::from_secs(11)));
    }

    #[tokio::test]
    async fn answers_are_heard_and_refusals_are_not() {
        let contact = Contact::default();
        let begun = Instant::now();
        let Some(long_ago) = begun.checked_sub(2 * SILENCE_MAX) else {
            // The clock is younger than that.
            return;
        };
        let line = contact.line(long_ago);
        let answer = |request: http::Request<Body>| async move {
            let status = match request.uri().path() {
                "/there" => http::StatusCode::OK,
                _ => http::StatusCode::FORBIDDEN,
            };
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = status;
            Ok::<_, kube::Error>(response)
        };
        let client = line.through(&Client::new(service_fn(answer), "default"));
        let get = |path: &str| {
            let request = http::Request::get(path).body(Body::empty());
            client.send(request.expect("a request"))
        };

        get("/other").await.expect("an answer");
        assert!(!contact.is_kept(begun));
        get("/there").await.expect("an answer");
        assert!(contact.is_kept(begun));
    }
}
