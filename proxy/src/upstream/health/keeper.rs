//! The task of the control thread that keeps the health of endpoints up to date. Requests only ever see
//! what came of it.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::upstream::destination::Destinations;
use crate::upstream::outlier::sweep::{LOOK_INTERVAL, Sweep};

/// Minds the endpoints of one generation after another until dropped.
#[derive(Debug)]
pub struct Keeper {
    minded: watch::Sender<Destinations>,
    task: JoinHandle<()>,
}

// === impl Keeper ===

impl Keeper {
    /// A keeper of no endpoint yet.
    ///
    /// Must be called within a runtime, which runs the task.
    pub fn start() -> Self {
        let (minded, destinations) = watch::channel(Destinations::default());
        let task = tokio::spawn(keep(destinations));
        Self { minded, task }
    }

    /// Minds these endpoints from now on. What is known of those that it minds already stays.
    pub fn mind(&self, destinations: &Destinations) {
        self.minded.send_replace(destinations.clone());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs until nobody can say any more what is to be minded.
async fn keep(mut minded: watch::Receiver<Destinations>) {
    let mut sweep = Sweep::default();
    let mut look = Instant::now();
    loop {
        tokio::select! {
            changed = minded.changed() => {
                if changed.is_err() {
                    return;
                }
                let destinations = minded.borrow_and_update().clone();
                look = Instant::now();
                sweep = Sweep::of(&destinations, look);
            }
            () = until((!sweep.is_empty()).then_some(look)) => {
                let now = Instant::now();
                sweep.look(now);
                look = now + LOOK_INTERVAL;
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
