//! How a stream begins: what is wanted, and what is there from before.

use tokio::time::Instant;

use super::{Ended, Follower, SHARES, Stream};
use crate::source::control::message::Request;
use config::wire;

/// Most bytes of names and versions in one request. Control planes take requests of 4 MiB.
const PART_BYTES_MAX: usize = 2 << 20;
/// Bytes that a name with its version needs besides.
const ENTRY_BYTES: usize = 16;

// === impl Follower ===

impl Follower {
    /// Subscribes on a new stream. Demands come first: what is needed to meet them is not to be taken
    /// away because the control plane does not know of them yet.
    pub(super) async fn open(&self, stream: &mut Stream) -> Result<(), Ended> {
        self.take_demands();
        let demands: Vec<String> = {
            let state = self.shared.locked();
            state.book.iter().map(|(it, _)| it.to_string()).collect()
        };
        let mut node = Some(&self.node);
        if !demands.is_empty() {
            stream.awaits = Some(Instant::now());
            let request = Request {
                node: node.take(),
                type_url: wire::DEMANDS,
                subscribe: demands,
                ..Request::default()
            };
            stream.send(&request).await?;
        }
        let own = self.shared.locked().locality.clone();
        let own = own.map(|it| (wire::OWN.to_owned(), it.into()));
        let request = Request {
            node: node.take(),
            type_url: wire::WORKLOAD,
            subscribe: vec!["*".to_owned()],
            versions: own.into_iter().collect(),
            ..Request::default()
        };
        stream.send(&request).await?;
        for share in SHARES {
            let versions = self.shared.locked().store.versions(share);
            let mut parts = parts(versions).into_iter().peekable();
            while let Some(versions) = parts.next() {
                // Whoever does not subscribe has more to say.
                let is_last = parts.peek().is_none();
                let request = Request {
                    node: node.take(),
                    type_url: share.type_url(),
                    subscribe: is_last.then(|| "*".to_owned()).into_iter().collect(),
                    versions,
                    ..Request::default()
                };
                stream.send(&request).await?;
            }
        }
        Ok(())
    }
}

/// Names and versions in parts that fit into a request each; one that is empty if there are none.
fn parts(versions: Vec<(String, String)>) -> Vec<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for (name, version) in versions {
        let more = name.len() + version.len() + ENTRY_BYTES;
        if bytes + more > PART_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push((name, version));
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_said_in_requests_that_control_planes_take() {
        let held = (0..100_000).map(|number| {
            let name = format!("EndpointSlice/some-namespace/some-service-{number:06}");
            (name, "0123456789abcdef".to_owned())
        });
        let held: Vec<_> = held.collect();

        let parts = parts(held.clone());

        assert!(parts.len() > 1);
        assert_eq!(parts.concat(), held);
        for versions in parts {
            let request = Request {
                type_url: wire::ENDPOINTS,
                versions,
                ..Request::default()
            };
            assert!(request.framed().len() < 4 << 20);
        }
    }

    #[test]
    fn who_has_nothing_says_so_once() {
        assert_eq!(parts(Vec::new()), [Vec::new()]);
    }
}
