//! When a process serves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Request;
use http::header::HOST;
use http_body_util::Full;

use crate::child::Supervised;
use crate::service::neighbour::Http;

/// How long a process may take from its start until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two questions whether it does.
const READY_PAUSE: Duration = Duration::from_millis(10);
/// How long one such question may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until `path` at the address `health` says that `process` is ready.
///
/// # Errors
///
/// When it ends instead, or is not ready in ten seconds.
pub(crate) async fn wait(
    process: &mut Supervised,
    health: SocketAddr,
    path: &str,
    http: &Http,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        process.still_runs()?;
        let req = Request::get(path).header(HOST, health.to_string());
        let req = req.body(Full::default()).context("make a request")?;
        match http.send(health, req, ASK_TIMEOUT).await {
            Ok(rsp) if rsp.status().is_success() => return Ok(()),
            Ok(_) | Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(READY_PAUSE).await;
            }
            Ok(rsp) => bail!("{} is not ready: it says {}", process.name(), rsp.status()),
            Err(error) => {
                return Err(error.context(format!("wait until {} is ready", process.name())));
            }
        }
    }
}
