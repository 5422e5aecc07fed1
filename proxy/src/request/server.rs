//! The HTTP of one downstream connection: which version it speaks, and its requests one after another
//! or side by side.

pub(crate) mod http1;
mod http2;

pub(crate) use http2::PREFACE;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http2::fuzz as http2_fuzz;

use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;

use crate::connection::Entered;
use crate::connection::first_bytes::first_bytes;
use crate::drain::Ticket;
use crate::io::Prefixed;
use crate::request::{Arrived, Downstream, pipeline};
use crate::tls::server::Agreed;
use crate::worker::Worker;

/// Serves the requests of a connection that was let in, until either side ends it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    downstream: Downstream,
    entered: Entered,
    mut ticket: Ticket,
) {
    let Entered {
        mut io,
        agreed,
        mut first,
    } = entered;
    if first.is_empty() {
        ticket.wait(Some(worker.limits.idle_timeout));
        first = match first_bytes(&mut io, &mut ticket, worker.limits.head_timeout).await {
            Ok(first) if !first.is_empty() => first,
            Ok(_) | Err(_) => return,
        };
    }
    ticket.wait(None);
    if agreed != Agreed::Http2 && !first.starts_with(PREFACE) {
        return http1::serve(worker, &downstream, io, first, ticket).await;
    }
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
    let io = Prefixed::new(first.freeze(), io);
    let rejected = |cause| counts.count_rejection(cause);
    if let Err(error) = http2::serve(io, ticket, rejected, answer).await {
        tracing::debug!(%error, "downstream connection ended");
    }
}
