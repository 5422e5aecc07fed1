//! Rotations while clients come and go all the time: nobody notices.

use std::sync::atomic::{AtomicUsize, Ordering};

use tests::{Http2, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

/// Certificates that replace each other.
const LEAVES: usize = 40;
/// Authorities that do.
const ROOTS: usize = 5;
/// Clients with a connection for each request, and as many with one for all.
const CLIENTS: usize = 3;

/// Clients without end; the first that fails ends the test.
struct Load {
    caller: watch::Sender<Arc<ClientConfig>>,
    served: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    fn begin(workload: &Workload, caller: &Signed) -> Self {
        let (caller, seen) = watch::channel(client(caller));
        let mut load = Self {
            caller,
            served: Arc::default(),
            tasks: JoinSet::new(),
        };
        let addr = workload.port.addr();
        for _ in 0..CLIENTS {
            let (now, served) = (seen.clone(), Arc::clone(&load.served));
            load.tasks.spawn(async move {
                loop {
                    let client = Arc::clone(&now.borrow());
                    let tls = authority::connect(addr, client).await.expect("let in");
                    let answer = exchange(tls, "").await;
                    assert!(is_ok(&answer), "{answer:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (client, served) = (Arc::clone(&seen.borrow()), Arc::clone(&load.served));
            load.tasks.spawn(async move {
                let tls = authority::connect(addr, client).await.expect("let in");
                let mut open = Http2::over(tls).await;
                loop {
                    assert_eq!(open.get("cart", "/").await.brief(), (200, "cart"));
                    served.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        load
    }

    /// Has clients come with another certificate, and waits until none is under way with the one
    /// before.
    async fn switch(&mut self, caller: &Signed) {
        self.caller.send_replace(client(caller));
        self.go_on().await;
    }

    /// Waits until every client was served after now.
    async fn go_on(&mut self) {
        // Those with a connection for all are quick, so that many requests are needed to be sure.
        let wanted = self.served.load(Ordering::Relaxed) + 20 * CLIENTS;
        let served = Arc::clone(&self.served);
        let now = async || served.load(Ordering::Relaxed);
        eventually("requests", now, |served| *served >= wanted).await;
        if let Some(ended) = self.tasks.try_join_next() {
            ended.expect("no request fails");
        }
    }
}

fn client(signed: &Signed) -> Arc<ClientConfig> {
    Arc::new(signed.client(&[], &[&TLS13, &TLS12]))
}

/// Replaces what the workload keeps, and waits until it is in use: the certificate is written last.
async fn rotate(workload: &Workload, own: &Signed, roots: &[&Authority]) {
    workload.identity.replace(own, roots);
    let now = async || shown(workload).await;
    eventually("the new certificate", now, |now| *now == der(own)).await;
}

#[tokio::test]
async fn rotations_under_load_fail_no_request() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let mut load = Load::begin(&workload, &workload.caller());
    load.go_on().await;

    for _ in 0..LEAVES {
        let next = workload.authority.leaf("default", "cart").sign();
        rotate(&workload, &next, &[&workload.authority]).await;
        load.go_on().await;
    }

    let authorities: Vec<Authority> = (0..ROOTS)
        .map(|_| Authority::new("cluster.local"))
        .collect();
    let mut before = &workload.authority;
    for next in &authorities {
        let own = before.leaf("default", "cart").sign();
        rotate(&workload, &own, &[before, next]).await;
        load.switch(&next.leaf("default", "shop").sign()).await;

        let own = next.leaf("default", "cart").sign();
        rotate(&workload, &own, &[next]).await;
        load.go_on().await;
        before = next;
    }
}
