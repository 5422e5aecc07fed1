//! The watch of one kind, for ever.

use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::core::{PartialObjectMeta, Status};
use kube::runtime::watcher::{self, InitialListStrategy, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::backoff::Backoff;
use super::contact::{Contact, Line};
use super::gather::{Gather, Progress};
use super::kind::{Form, Kind};
use super::{Closed, Metrics, Settings, Sink};
use crate::event::{Event, Object, Refused};

/// Longest life of one watch request: how late a connection that died without a word is noticed. The
/// next request goes on where it was and costs next to nothing.
pub(super) const WATCH_SECONDS_MAX: u32 = 60;
/// By which part of that one may be shorter: kinds begin together and should not end together.
const WATCH_SPREAD: u32 = 3;
/// Objects in one answer of a list, where it is not streamed.
const PAGE_OBJECTS: u32 = 500;
/// Steps that become one batch of events.
const BATCH_MAX: usize = 256;
/// How often a kind is looked for that is not installed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often in a row the API server must say that it has no such kind before we believe that there is
/// none: one that starts says so of kinds that it has. At the start, too: proxies may have some.
const ABSENT_MIN: u32 = 3;

/// How the API server says that it has not come as far as we have: its data are those of a backup.
const AHEAD: &str = "ResourceVersionTooLarge";

type Step = watcher::Result<watcher::Event<Value>>;

/// The watch of one kind.
pub(super) struct Watch {
    client: Client,
    line: Line,
    kind: &'static Kind,
    namespace: Option<String>,
    metrics: Metrics,
    gather: Gather,
    backoff: Backoff,
    /// Longest life of one request.
    seconds_max: u32,
    /// Which of the versions is asked for.
    version: usize,
    /// Whether lists are asked for as watches, which costs the API server less memory.
    is_streaming: bool,
    /// How often in a row there was no such kind, in any version.
    absent: u32,
    /// Whether it was told that there is no such kind.
    is_missing: bool,
    /// Whether it was told once what there is.
    is_listed: bool,
}

/// What came at once.
struct Batch {
    events: Vec<watcher::Event<Value>>,
    /// What ended it; the stream is not asked for more before this was answered.
    failure: Option<watcher::Error>,
}

/// Why a stream of steps is given up and another begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Nothing is wrong with the stream: it goes on by itself.
    Resume,
    /// History is lost; list again.
    List,
    /// Lists cannot be streamed; list page by page.
    Page,
    /// There is no such kind in this version.
    Look,
}

// === impl Watch ===

impl Watch {
    /// The watches of a kind: one for each namespace if it counts in some only.
    pub(super) fn of(
        kind: &'static Kind,
        client: &Client,
        settings: &Settings,
        metrics: &Metrics,
        contact: &Contact,
    ) -> Vec<Self> {
        let watch = |namespace: Option<&str>, gather| {
            let line = contact.line(Instant::now());
            let watch = Self::new(kind, line.through(client), line, metrics, namespace, gather);
            Self {
                seconds_max: contact.watch_seconds_max(),
                ..watch
            }
        };
        let own = &settings.root_namespace;
        match kind.namespaces(settings).as_slice() {
            [] => vec![watch(None, Gather::all(kind, own))],
            [only] => vec![watch(Some(*only), Gather::all(kind, own))],
            several => {
                let each = several.iter();
                each.map(|it| watch(Some(*it), Gather::part(kind, own)))
                    .collect()
            }
        }
    }

    fn new(
        kind: &'static Kind,
        client: Client,
        line: Line,
        metrics: &Metrics,
        namespace: Option<&str>,
        gather: Gather,
    ) -> Self {
        Self {
            client,
            line,
            kind,
            namespace: namespace.map(str::to_owned),
            metrics: metrics.clone(),
            gather,
            backoff: Backoff::default(),
            seconds_max: WATCH_SECONDS_MAX,
            version: 0,
            is_streaming: true,
            absent: 0,
            is_missing: false,
            is_listed: false,
        }
    }

    /// Tells `sink` of the kind until nobody takes it.
    pub(super) async fn run(mut self, sink: Sink) {
        loop {
            let steps = self.open();
            tokio::select! {
                followed = self.follow(steps, &sink) => match followed {
                    Ok(()) => {}
                    Err(Closed) => return,
                },
                () = sink.sender.closed() => return,
            }
        }
    }

    fn open(&self) -> BoxStream<'static, Step> {
        let version = self.kind.versions[self.version];
        let api = self.kind.api(version);
        let seconds_min = self.seconds_max - self.seconds_max / WATCH_SPREAD;
        let mut config = watcher::Config::default()
            .timeout(fastrand::u32(seconds_min..=self.seconds_max))
            .page_size(PAGE_OBJECTS);
        config.field_selector = self.kind.fields();
        if self.is_streaming {
            config.initial_list_strategy = InitialListStrategy::StreamingList;
        }
        let client = self.client.clone();
        match (self.kind.form, &self.namespace) {
            (Form::Node, _) => {
                let nodes = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &api);
                values(nodes, config)
            }
            (_, Some(namespace)) => {
                let objects = Api::<DynamicObject>::namespaced_with(client, namespace, &api);
                values(objects, config)
            }
            (_, None) => values(Api::<DynamicObject>::all_with(client, &api), config),
        }
    }

    /// Follows one stream until another must be begun.
    async fn follow(
        &mut self,
        mut steps: BoxStream<'static, Step>,
        sink: &Sink,
    ) -> Result<(), Closed> {
        while let Some(Batch { events, failure }) = batch(&mut steps).await {
            let mut is_listed = false;
            if !events.is_empty() {
                self.line.heard(Instant::now());
            }
            for event in events {
                match self.gather.take(event) {
                    Progress::BeganAnew if self.is_streaming => {
                        // The server takes too long to stream it, or never says that it is done.
                        self.is_streaming = false;
                        return Ok(());
                    }
                    Progress::Began | Progress::BeganAnew => {}
                    Progress::Listed => is_listed = true,
                    Progress::Object => self.backoff.succeeded(),
                }
            }
            self.tell(sink, is_listed).await?;
            if let Some(error) = failure {
                match self.recover(&error, sink).await? {
                    Remedy::Resume => {}
                    Remedy::List | Remedy::Page | Remedy::Look => return Ok(()),
                }
            }
        }
        Ok(())
    }

    async fn tell(&mut self, sink: &Sink, is_listed: bool) -> Result<(), Closed> {
        let events = self.gather.events();
        self.complain(&events);
        sink.send(events).await?;
        if is_listed {
            self.backoff.succeeded();
            self.absent = 0;
            self.is_missing = false;
            self.metrics
                .missing
                .with_label_values(&[self.kind.name])
                .set(0);
            self.metrics
                .lists
                .with_label_values(&[self.kind.name])
                .inc();
            tracing::debug!(kind = self.kind.name, "listed");
            self.first_list(sink).await?;
        }
        Ok(())
    }

    /// Says which objects cannot be used: whoever takes the events may have other things to say of them.
    fn complain(&self, events: &[Event]) {
        let objects = events.iter().flat_map(|event| match event {
            Event::Applied(objects) | Event::Listed { objects, .. } => objects.as_slice(),
            Event::Deleted(_) | Event::Everything(_) | Event::Synced => &[],
        });
        for object in objects {
            if let Object::Refused(Refused { name, reasons }) = object {
                let refused = &self.metrics.refused;
                refused.with_label_values(&[self.kind.name]).inc();
                tracing::warn!(resource = %name, ?reasons, "a resource cannot be used");
            }
        }
    }

    async fn first_list(&mut self, sink: &Sink) -> Result<(), Closed> {
        if std::mem::replace(&mut self.is_listed, true) {
            return Ok(());
        }
        sink.listed().await
    }

    /// Waits as long as is proper after `error` and says how to go on.
    async fn recover(&mut self, error: &watcher::Error, sink: &Sink) -> Result<Remedy, Closed> {
        let remedy = remedy(error, self.is_streaming);
        let kind = self.kind.name;
        match remedy {
            Remedy::Look => {
                self.look_elsewhere(sink).await?;
                return Ok(remedy);
            }
            Remedy::Page => self.is_streaming = false,
            Remedy::List | Remedy::Resume => {
                let reason = reason(error);
                self.metrics
                    .failures
                    .with_label_values(&[kind, reason])
                    .inc();
                let error = chain(error);
                tracing::warn!(kind, reason, error, "the API server cannot be followed");
            }
        }
        let pause = self.backoff.failed(Instant::now(), fastrand::f64());
        tokio::time::sleep(pause).await;
        Ok(remedy)
    }

    /// There is no such kind in this version: the next one is tried, and after the last one it is
    /// told that there is nothing.
    async fn look_elsewhere(&mut self, sink: &Sink) -> Result<(), Closed> {
        // It said so.
        self.line.heard(Instant::now());
        self.version += 1;
        if self.version < self.kind.versions.len() {
            return Ok(());
        }
        self.version = 0;
        self.absent = self.absent.saturating_add(1);
        if !self.is_missing && self.absent >= ABSENT_MIN {
            self.is_missing = true;
            let kind = self.kind.name;
            tracing::info!(kind, "the API server does not have this kind");
            self.metrics.missing.with_label_values(&[kind]).set(1);
            self.gather.nothing();
            sink.send(self.gather.events()).await?;
            self.first_list(sink).await?;
        }
        let pause = LOOK_INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Waits for a step and takes those that are there already, too; none at the end.
async fn batch(steps: &mut BoxStream<'static, Step>) -> Option<Batch> {
    let mut batch = Batch {
        events: Vec::new(),
        failure: None,
    };
    let mut next = steps.next().await?;
    loop {
        match next {
            Ok(event) => batch.events.push(event),
            Err(error) => {
                batch.failure = Some(error);
                return Some(batch);
            }
        }
        if batch.events.len() >= BATCH_MAX {
            return Some(batch);
        }
        match steps.next().now_or_never() {
            Some(Some(step)) => next = step,
            Some(None) | None => return Some(batch),
        }
    }
}

fn values<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, Step>
where
    K: Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug + Send + 'static,
{
    // What came as JSON can be written as JSON.
    let value = |object: K| serde_json::to_value(object).unwrap_or_default();
    let step = move |event: watcher::Event<K>| match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(value(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(value(object)),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(value(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    };
    watcher(api, config).map(move |it| it.map(step)).boxed()
}

/// What helps against `error`.
fn remedy(error: &watcher::Error, is_streaming: bool) -> Remedy {
    let Some(status) = status(error) else {
        return Remedy::Resume;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let is_ahead = causes.into_iter().any(|cause| cause.reason == AHEAD);
    match status.code {
        404 => Remedy::Look,
        // Servers that do not stream lists call the request wrong.
        400 | 422 if is_streaming => Remedy::Page,
        // The stream lists again by itself only if it learns of it while it watches.
        410 => Remedy::List,
        _ if is_ahead => Remedy::List,
        _ => Remedy::Resume,
    }
}

/// What the API server answered; none if it did not.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
}

/// The label of a failure.
fn reason(error: &watcher::Error) -> &'static str {
    match status(error).map(|status| status.code) {
        Some(410) => "expired",
        Some(401) => "unauthorized",
        Some(403) => "forbidden",
        Some(_) => "refused",
        None => "unreachable",
    }
}

/// What went wrong, with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    // Some say their causes themselves.
    causes.fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

#[cfg(test)]
mod tests;
