//! The HTTP of one downstream connection: which version it speaks, and its requests one after another
//! or side by side.

pub(crate) mod http1;
mod http2;

pub(crate) use http2::PREFACE;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http2::fuzz as http2_fuzz;

use std::rc::Rc;

use http::{Request, Version};
use hyper::body::Incoming;

use crate::connection::Entered;
use crate::connection::first_bytes::first_bytes;
use crate::drain::Ticket;
use crate::io::Prefixed;
use crate::request::{Arrived, Downstream, pipeline};
use crate::tls::server::Agreed;
use crate::worker::Worker;

/// Waits for the first bytes of a connection that was let in, if they did not come yet, which tell the
/// version. None if they never come.
pub(crate) async fn version(
    worker: &Worker,
    entered: &mut Entered,
    ticket: &mut Ticket,
) -> Option<Version> {
    if entered.first.is_empty() {
        ticket.wait(Some(worker.limits.idle_timeout));
        let first = first_bytes(&mut entered.io, ticket, worker.limits.head_timeout);
        entered.first = first.await.ok().filter(|first| !first.is_empty())?;
    }
    ticket.wait(None);
    let is_http2 = entered.agreed == Agreed::Http2 || entered.first.starts_with(PREFACE);
    Some(match is_http2 {
        true => Version::HTTP_2,
        false => Version::HTTP_11,
    })
}

/// Serves requests side by side until either side ends the connection.
pub(crate) async fn serve_http2(
    worker: Rc<Worker>,
    downstream: Downstream,
    entered: Entered,
    ticket: Ticket,
) {
    let downstream = Rc::new(downstream);
    let counts = Rc::clone(&worker);
    let answer = move |request: Request<Incoming>| {
        let (worker, downstream) = (Rc::clone(&worker), Rc::clone(&downstream));
        let arrived = Arrived::from(request);
        async move {
            let response = pipeline::serve(worker, &downstream, arrived).await;
            match response.body().is_reset() {
                true => Err(http2::Reset),
                false => Ok(response),
            }
        }
    };
    let io = Prefixed::new(entered.first.freeze(), entered.io);
    let rejected = |cause| counts.count_rejection(cause);
    if let Err(error) = http2::serve(io, ticket, rejected, answer).await {
        tracing::debug!(%error, "downstream connection ended");
    }
}
