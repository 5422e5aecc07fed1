//! What was told, from a process to the one that takes its place, which so begins where that one was, and
//! not with a wait for a control plane.
//!
//! It goes with the sockets, in memory that has no name: Secrets are in it, and there may be no folder.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use rustix::fs::{MemfdFlags, memfd_create};

use super::State;
use super::disk::{self, Unusable};
use crate::handover::Sockets;

/// How it is called among the sockets.
const NAME: &str = "told by control planes";

/// Adds what the proxy `node` was told.
pub(super) fn add(state: &State, node: &str, sockets: &mut Sockets) -> io::Result<()> {
    let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
    file.write_all(disk::written(state, node).as_bytes())?;
    sockets.add(NAME, file);
    Ok(())
}

/// Takes what was told the process before, if there was one that followed a control plane, too.
pub(super) fn take(sockets: &mut Sockets, node: &str) -> Option<State> {
    let mut file = File::from(sockets.take(NAME).pop()?);
    let read = file.rewind().map_err(Unusable::from);
    match read.and_then(|()| disk::read(file, node)) {
        Ok(state) => Some(state),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "what the process before was told cannot be used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::control::store::{Share, Told};

    #[test]
    fn what_was_told_goes_along_once_and_to_nobody_else() {
        let mut state = State::default();
        let told = Told {
            name: "VirtualService/b/a",
            version: "7",
            document: r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"name": "a", "namespace": "b"}, "spec": {"hosts": ["a"],
                "http": [{"route": [{"destination": {"host": "a"}}]}]}}"#,
        };
        let applied = state
            .store
            .apply(Share::Resources, std::iter::once(told), &[]);
        assert!(applied.expect("few").changed);
        let mut sockets = Sockets::default();
        add(&state, "a.b", &mut sockets).expect("memory");

        let mut others = sockets.duplicate().expect("descriptors");
        assert!(take(&mut others, "c.b").is_none());
        let taken = take(&mut sockets, "a.b").expect("a state");

        assert_eq!(taken.store.versions(Share::Resources)[0].1, "7");
        assert!(sockets.is_empty() && take(&mut sockets, "a.b").is_none());
    }
}
