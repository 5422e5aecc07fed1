//! The task that owns the index: gathers events and publishes generations.

use std::sync::Arc;

use config::mesh::MeshSettings;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::debounce::due;
use super::{Change, Generation, Index};
use crate::event::Event;

/// Most events that are taken from the channel at once.
const EVENTS_AT_ONCE_MAX: usize = 256;

/// Events that were not acted upon yet.
struct Burst {
    first: Instant,
    last: Instant,
    events: Vec<Event>,
}

/// Makes generations of events until nobody sends any more, and publishes each that differs from the one
/// before. The first is published once everything was listed.
///
/// The work is done on a thread that may block: indexing thousands of resources takes longer than others
/// on this one should wait.
pub async fn run(
    mut events: mpsc::Receiver<Event>,
    settings: MeshSettings,
    publish: impl Fn(Arc<Generation>, Change),
) {
    let mut index = Index::new(settings);
    let mut burst: Option<Burst> = None;
    loop {
        let mut received = Vec::new();
        let is_over = match &burst {
            None => events.recv_many(&mut received, EVENTS_AT_ONCE_MAX).await == 0,
            Some(Burst { first, last, .. }) => tokio::select! {
                () = sleep_until(due(*first, *last)) => {
                    index = act(index, burst.take(), &publish).await;
                    continue;
                }
                count = events.recv_many(&mut received, EVENTS_AT_ONCE_MAX) => count == 0,
            },
        };
        if is_over {
            act(index, burst.take(), &publish).await;
            return;
        }
        let now = Instant::now();
        let burst = burst.get_or_insert_with(|| Burst {
            first: now,
            last: now,
            events: Vec::new(),
        });
        burst.last = now;
        burst.events.extend(received);
    }
}

async fn act(
    mut index: Index,
    burst: Option<Burst>,
    publish: &impl Fn(Arc<Generation>, Change),
) -> Index {
    let Some(Burst { first, events, .. }) = burst else {
        return index;
    };
    let made = tokio::task::spawn_blocking(move || {
        events.into_iter().for_each(|event| index.apply(event));
        let next = index.next(first);
        (index, next)
    });
    let (index, next) = match made.await {
        Ok(made) => made,
        // It panicked, or the runtime is about to end: there is nothing to go on with.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    if let Some((generation, change)) = next {
        publish(generation, change);
    }
    index
}

#[cfg(test)]
mod tests;
