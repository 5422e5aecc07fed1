//! What mirrors cost the requests themselves: how long requests take without a mirror, with one that
//! answers, one that takes connections and hangs, and one that breaks off.
//!
//! A plain program instead of one of criterion's, because what counts are the slowest of many
//! requests. The kinds take turns in short rounds, so that a busy moment of the machine meets all.

mod fixture;
mod memory;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use proxy::upstream::endpoint::EndpointAddr;
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::LocalRuntime;

use memory::{Http1, PIPE_BYTES, downstream, get_http1, http1_client, runtime, upstream, worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 100;
/// Requests of a kind in a round.
const REQUESTS: usize = 500;
/// Address of the mirrors.
const SHADOW: &str = "192.0.2.2";

/// What the mirror is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shadow {
    None,
    Answers,
    Hangs,
    BreaksOff,
}

/// One kind and what its requests took.
struct Measured {
    shadow: Shadow,
    client: Http1,
    took: Vec<Duration>,
}

fn main() -> io::Result<()> {
    let runtime = runtime();
    let kinds = [
        Shadow::None,
        Shadow::Answers,
        Shadow::Hangs,
        Shadow::BreaksOff,
    ];
    let mut measured = kinds.map(|shadow| Measured::new(shadow, &runtime));
    // As a test, that is without this argument, it only has to work.
    let measures = std::env::args().any(|argument| argument == "--bench");
    for _ in 0..if measures { ROUNDS } else { 1 } {
        for kind in &mut measured {
            runtime.block_on(kind.round());
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "mirror       p50 µs   p99 µs  p99.9 µs")?;
    for kind in &mut measured {
        kind.took.sort_unstable();
        let [half, most, nearly_all] = [500, 990, 999].map(|share| kind.quantile(share));
        let shadow = format!("{:?}", kind.shadow);
        writeln!(out, "{shadow:10} {half:8.1} {most:8.1} {nearly_all:9.1}")?;
    }
    Ok(())
}

// === impl Measured ===

impl Measured {
    fn new(shadow: Shadow, runtime: &LocalRuntime) -> Self {
        let worker = runtime.block_on(async {
            worker(&yaml(shadow), move |addr: &EndpointAddr| {
                match addr.to_string().starts_with(SHADOW) {
                    true => shadow.open(),
                    false => upstream(),
                }
            })
        });
        let io = downstream(&worker, runtime);
        Self {
            shadow,
            client: runtime.block_on(http1_client(io)),
            took: Vec::with_capacity(ROUNDS * REQUESTS),
        }
    }

    async fn round(&mut self) {
        for _ in 0..REQUESTS {
            let start = Instant::now();
            get_http1(&mut self.client).await;
            self.took.push(start.elapsed());
        }
    }

    /// Microseconds that so many of a thousand requests do not exceed.
    fn quantile(&self, of_thousand: usize) -> f64 {
        let at = self.took.len() * of_thousand / 1_000;
        self.took[at.min(self.took.len() - 1)].as_secs_f64() * 1e6
    }
}

// === impl Shadow ===

impl Shadow {
    /// The proxy's end of a connection to it.
    fn open(self) -> DuplexStream {
        match self {
            Self::None | Self::Answers => upstream(),
            Self::Hangs => {
                let (near, far) = duplex(PIPE_BYTES);
                tokio::task::spawn_local(async move {
                    let _open = far;
                    std::future::pending::<()>().await;
                });
                near
            }
            Self::BreaksOff => duplex(PIPE_BYTES).0,
        }
    }
}

fn yaml(shadow: Shadow) -> String {
    let mirror = match shadow {
        Shadow::None => "",
        Shadow::Answers | Shadow::Hangs | Shadow::BreaksOff => "mirror: {host: shadow.example}, ",
    };
    let service = |name: &str, address: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}}}]
---
"
        )
    };
    service("web", "192.0.2.1")
        + &service("shadow", SHADOW)
        + &format!(
            "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  servers:
  - port: {{number: 8080, name: http, protocol: HTTP}}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - {{{mirror}route: [{{destination: {{host: web.example}}}}]}}
"
        )
}
