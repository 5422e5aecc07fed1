//! What becomes of a response.

use config::wire::{self, Demand};
use tokio::time::Instant;

use super::{Ended, Follower, Stream};
use crate::protobuf::Malformed;
use crate::source::control::message::{Remark, Request, Response};
use crate::source::control::store::{Share, Told};

/// Longest locality: three values of labels.
const LOCALITY_BYTES_MAX: usize = 256;

// === impl Follower ===

impl Follower {
    /// Takes in a response and says what became of it.
    pub(super) async fn receive(
        &mut self,
        stream: &mut Stream,
        message: &[u8],
    ) -> Result<(), Ended> {
        let response = Response::read(message)?;
        let remark = match response.type_url {
            wire::RESOURCES => self.take_in(stream, Share::Resources, &response)?,
            wire::ENDPOINTS => self.take_in(stream, Share::Endpoints, &response)?,
            wire::WORKLOAD => self.take_own(&response)?,
            wire::DEMANDS => self.take_answers(stream, &response)?,
            // Nobody asked for it: a newer control plane may know more than we do.
            _ => return Ok(()),
        };
        let request = Request {
            type_url: response.type_url,
            nonce: response.nonce,
            remark,
            ..Request::default()
        };
        stream.send(&request).await
    }

    /// Takes in where the workload is.
    fn take_own(&mut self, response: &Response<'_>) -> Result<Option<Remark>, Ended> {
        let own = response.resources.iter().find(|it| it.name == wire::OWN);
        let Some(own) = own else {
            return Ok(None);
        };
        let locality = own.locality()?;
        let is_long = locality.len() > LOCALITY_BYTES_MAX;
        let mut state = self.shared.locked();
        if is_long || state.locality.as_deref() == Some(locality) {
            return Ok(None);
        }
        tracing::info!(locality, "told where this workload is");
        state.locality = Some(locality.into());
        drop(state);
        self.note_change();
        self.shared.changed.send_replace(());
        Ok(None)
    }

    fn take_in(
        &mut self,
        stream: &mut Stream,
        share: Share,
        response: &Response<'_>,
    ) -> Result<Option<Remark>, Ended> {
        let documents: Result<Vec<Told<'_>>, Malformed> = response
            .resources
            .iter()
            .map(|it| {
                let document = it.document()?;
                Ok(Told {
                    name: it.name,
                    version: it.version,
                    document,
                })
            })
            .collect();
        let documents = documents?;
        let counters = &self.around.counters;
        counters.received(share.type_url(), documents.len());
        let mut state = self.shared.locked();
        let applied = state
            .store
            .apply(share, documents.into_iter(), &response.removed)?;
        counters
            .held
            .set(i64::try_from(state.store.len()).unwrap_or(i64::MAX));
        let rejected = state.store.rejected().len();
        counters
            .rejected
            .set(i64::try_from(rejected).unwrap_or(i64::MAX));
        drop(state);
        for remark in &applied.report.rejected {
            let (resource, why) = (&remark.name, &remark.message);
            tracing::warn!(resource, why, "resource rejected; its last good form stays");
        }
        for remark in &applied.report.skipped {
            let (resource, why) = (&remark.name, &remark.message);
            tracing::debug!(resource, why, "resource used in part");
        }
        let is_whole = !response.system_version.is_empty();
        stream.heard(share, is_whole, Instant::now());
        if applied.changed {
            self.note_change();
        }
        self.shared.changed.send_replace(());
        if stream.is_complete() && !*self.begin.borrow() {
            self.begin.send_replace(true);
        }
        Ok((!applied.report.is_empty()).then(|| Remark {
            rejects: !applied.report.rejected.is_empty(),
            message: serde_json::to_string(&applied.report).unwrap_or_default(),
        }))
    }

    fn take_answers(
        &mut self,
        stream: &mut Stream,
        response: &Response<'_>,
    ) -> Result<Option<Remark>, Ended> {
        self.around
            .counters
            .received(wire::DEMANDS, response.resources.len());
        let mut state = self.shared.locked();
        let mut changed = false;
        let mut answer = |name: &str, found| {
            // What is no demand was not ours.
            if let Ok(demand) = name.parse::<Demand>() {
                changed |= state.book.answer(&demand, found);
            }
        };
        for resource in &response.resources {
            answer(resource.name, resource.is_found()?);
        }
        for name in &response.removed {
            answer(name, false);
        }
        let count = state.count();
        let is_full = state.book.is_full();
        drop(state);
        self.around
            .counters
            .demands(count.found, count.unknown, count.pending);
        stream.awaits = (count.pending > 0).then(Instant::now);
        if changed {
            self.note_change();
            self.shared.changed.send_replace(());
        }
        if is_full {
            stream.sweep_at = Instant::now();
        }
        Ok(None)
    }
}
