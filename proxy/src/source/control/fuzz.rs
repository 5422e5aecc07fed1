//! What fuzzers call of it.

use super::message::Response;
use super::store::{Share, Store, Told};

/// A response of a control plane, which changes nothing when it is told again.
pub(crate) fn response(bytes: &[u8]) {
    let Ok(response) = Response::read(bytes) else {
        return;
    };
    let mut store = Store::default();
    for turn in 0..2 {
        for share in [Share::Resources, Share::Endpoints] {
            let told = response.resources.iter().filter_map(|resource| {
                Some(Told {
                    name: resource.name,
                    version: resource.version,
                    document: resource.document().ok()?,
                })
            });
            let applied = store.apply(share, told, &[]);
            let changed = applied.is_ok_and(|it| it.changed);
            assert!(turn == 0 || !changed || has_twice(&response));
        }
    }
    for resource in &response.resources {
        let _ = (resource.is_found(), resource.locality());
    }
}

/// Whether it says two things of one resource, of which the last counts.
fn has_twice(response: &Response<'_>) -> bool {
    let mut names: Vec<&str> = response.resources.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
