//! Streams from their first request to their end, without sockets: what they wait for is a future like
//! any other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use config::spiffe::SpiffeId;
use config::wire::{DEMANDS, ENDPOINTS, RESOURCES};
use prometheus::Registry;
use prost_types::Struct;
use prost_types::value::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::event::Event;
use crate::fixture::{index, next, objects};
use crate::hub::Settings;
use crate::identity::Caller;
use crate::index::Index;
use crate::proto::discovery::Node;
use crate::proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.1.0.1, selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {clusterIP: 10.1.0.2, selector: {app: ratings}, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ratings-1, labels: {kubernetes.io/service-name: ratings}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.2]}]
";

/// A hub and the index that it is told of.
struct Control {
    hub: Arc<Hub>,
    index: Index,
}

impl Control {
    fn new(settings: Settings) -> Self {
        let hub = Hub::new(settings, &Registry::new()).expect("a registry of its own");
        let mut control = Self {
            hub,
            index: index(MESH),
        };
        control.publish();
        control
    }

    fn publish(&mut self) {
        let (generation, change) = next(&mut self.index);
        self.hub.publish(generation, &change);
    }

    fn apply(&mut self, yaml: &str) {
        self.index.apply(Event::Applied(objects(yaml)));
        self.publish();
    }

    async fn connect(&self, id: &str) -> Client {
        let (sender, requests) = mpsc::channel(64);
        let mut service = AggregatedDiscoveryServiceClient::new(service(Arc::clone(&self.hub)));
        let answer = service.delta_aggregated_resources(ReceiverStream::new(requests));
        let responses = answer.await.expect("an answer").into_inner();
        let client = Client {
            sender,
            responses,
            held: HashMap::new(),
        };
        for request in beginning(id) {
            client.send(request).await;
        }
        client
    }
}

/// What a proxy begins with.
fn beginning(id: &str) -> [DeltaDiscoveryRequest; 2] {
    let text = Kind::StringValue("default".to_owned());
    let namespace = prost_types::Value { kind: Some(text) };
    let node = Node {
        id: id.to_owned(),
        metadata: Some(Struct {
            fields: [("NAMESPACE".to_owned(), namespace)].into(),
        }),
        ..Node::default()
    };
    let request = |type_url: &str, node: Option<Node>| DeltaDiscoveryRequest {
        node,
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    [request(RESOURCES, Some(node)), request(ENDPOINTS, None)]
}

/// A proxy that takes everything.
struct Client {
    sender: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    held: HashMap<String, String>,
}

impl Client {
    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.sender.send(request).await.expect("taken");
    }

    async fn ask(&self, demand: &str) {
        self.send(DeltaDiscoveryRequest {
            type_url: DEMANDS.to_owned(),
            resource_names_subscribe: vec![demand.to_owned()],
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// Takes and acknowledges responses until one tells of `name`.
    async fn until_told(&mut self, name: &str) {
        loop {
            let response = self.take().await.expect("a response").expect("a stream");
            if response.resources.iter().any(|it| it.name == name) {
                return;
            }
        }
    }

    async fn take(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        let message = timeout(Duration::from_secs(3600), self.responses.message());
        let Some(response) = message.await.expect("something happens")? else {
            return Ok(None);
        };
        for resource in &response.resources {
            self.held
                .insert(resource.name.clone(), resource.version.clone());
        }
        for name in &response.removed_resources {
            self.held.remove(name);
        }
        self.acknowledge(&response, None).await;
        Ok(Some(response))
    }

    async fn acknowledge(
        &self,
        response: &DeltaDiscoveryResponse,
        error: Option<crate::proto::discovery::Status>,
    ) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// Takes what there is to take by now.
    async fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(response) = timeout(Duration::from_secs(1), self.take()).await {
            let Ok(Some(response)) = response else { break };
            told.extend(response.resources.into_iter().map(|it| it.name));
        }
        told
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_told_what_it_asks_for_and_what_becomes_of_it() {
    let mut control = Control::new(Settings::default());
    let mut client = control.connect("web-1.default").await;

    client.ask("host:reviews").await;
    client.until_told("host:reviews").await;

    let mut held: Vec<&str> = client.held.keys().map(String::as_str).collect();
    held.sort_unstable();
    let slice = "EndpointSlice/default/reviews-1";
    assert_eq!(held, [slice, "Service/default/reviews", "host:reviews"]);
    control.apply(&MESH.replace("10.0.0.1", "10.0.0.9"));
    assert_eq!(client.settle().await, [slice]);
    let shown = &control.hub.proxies()[0];
    assert_eq!((shown.resources, shown.endpoints, shown.demands), (1, 1, 1));
    assert_eq!((shown.acknowledged, shown.lag_milliseconds), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_endpoints_wakes_those_who_have_them_and_nobody_else() {
    let mut control = Control::new(Settings::default());
    let mut one = control.connect("one.default").await;
    let mut other = control.connect("other.default").await;
    one.ask("host:reviews").await;
    other.ask("host:ratings").await;
    one.until_told("host:reviews").await;
    other.until_told("host:ratings").await;
    let before = control.hub.counters().woken.get();

    control.apply(&MESH.replace("10.0.0.1", "10.0.0.9"));

    assert_eq!(control.hub.counters().woken.get() - before, 1);
    assert_eq!(one.settle().await, ["EndpointSlice/default/reviews-1"]);
    assert!(other.settle().await.is_empty());
    // It concerns it that nothing does.
    let acknowledged = control.hub.proxies().into_iter().map(|it| it.acknowledged);
    assert_eq!(acknowledged.collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_proxy_slows_nobody_and_is_shown() {
    let mut control = Control::new(Settings::default());
    let mut slow = control.connect("slow.default").await;
    let first = slow.responses.message().await.expect("a stream");
    assert!(first.is_some());
    let mut quick = control.connect("quick.default").await;
    quick.ask("host:reviews").await;
    quick.until_told("host:reviews").await;

    for last in 3..9 {
        control.apply(&MESH.replace("10.0.0.1", &format!("10.0.0.{last}")));
        assert_eq!(quick.settle().await, ["EndpointSlice/default/reviews-1"]);
    }

    let proxies = control.hub.proxies();
    assert_eq!(proxies[1].id, "slow.default");
    assert_eq!(proxies[0].lag_milliseconds, None);
    assert!(proxies[1].lag_milliseconds.is_some_and(|lag| lag >= 6_000));
    assert_eq!(proxies[1].acknowledged, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_before_everything_was_listed_waits() {
    let hub = Hub::new(Settings::default(), &Registry::new()).expect("a registry of its own");
    let mut control = Control {
        hub,
        index: index(MESH),
    };
    let mut client = control.connect("web-1.default").await;
    client.ask("host:reviews").await;
    assert!(client.settle().await.is_empty());

    control.publish();

    client.until_told("host:reviews").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_first_generation_is_sent_elsewhere_when_the_hub_is_drained() {
    let hub = Hub::new(Settings::default(), &Registry::new()).expect("a registry of its own");
    let control = Control {
        hub,
        index: index(MESH),
    };
    let mut client = control.connect("web-1.default").await;
    assert!(client.settle().await.is_empty());

    control.hub.drain();

    let ended = client.take().await.expect_err("no generation");
    assert_eq!(ended.code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_routes_wakes_those_who_look_at_their_hosts_and_nobody_else() {
    let mut control = Control::new(Settings::default());
    let mut one = control.connect("one.default").await;
    let mut other = control.connect("other.default").await;
    one.ask("host:reviews").await;
    other.ask("host:ratings").await;
    one.until_told("host:reviews").await;
    other.until_told("host:ratings").await;
    let before = control.hub.counters().woken.get();

    control.apply(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews}, \
         spec: {hosts: [reviews], http: [{timeout: 1s, route: [{destination: {host: reviews}}]}]}}",
    );

    assert_eq!(control.hub.counters().woken.get() - before, 1);
    assert_eq!(one.settle().await, ["VirtualService/default/reviews"]);
    assert!(other.settle().await.is_empty());
    // Whoever was not woken follows its own endpoints as before.
    control.apply(&MESH.replace("10.0.0.2", "10.0.0.9"));
    assert_eq!(other.settle().await, ["EndpointSlice/default/ratings-1"]);
    assert!(one.settle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_while_something_is_told_brings_along_what_it_needs() {
    let mut control = Control::new(Settings::default());
    let mut client = control.connect("web-1.default").await;
    client.settle().await;
    client.ask("host:reviews").await;
    let slice = client.responses.message().await.expect("a stream");
    let slice = slice.expect("a response");
    assert_eq!(slice.type_url, ENDPOINTS);

    control.apply(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews}, \
         spec: {hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}}",
    );
    client.acknowledge(&slice, None).await;
    client.until_told("VirtualService/default/reviews").await;

    assert!(client.held.contains_key("EndpointSlice/default/ratings-1"));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_drained_ends_streams_and_takes_no_new_ones() {
    let control = Control::new(Settings::default());
    let mut client = control.connect("web-1.default").await;
    client.settle().await;

    control.hub.drain();

    assert!(client.take().await.expect("in good order").is_none());
    let mut late = control.connect("web-2.default").await;
    let refused = late.take().await.expect_err("no place");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    drop(client);
    assert!(control.hub.proxies().is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_there_may_be_are_refused() {
    let control = Control::new(Settings {
        streams_max: 1,
        ..Settings::default()
    });
    let mut first = control.connect("web-1.default").await;
    first.settle().await;

    let mut second = control.connect("web-2.default").await;

    assert!(second.take().await.is_err());
    assert_eq!(control.hub.proxies().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_more_streams_than_his_share_even_if_they_say_nothing() {
    let control = Control::new(Settings {
        streams_each_max: 2,
        ..Settings::default()
    });
    let mut first = control.connect("web-1.default").await;
    first.settle().await;
    let (_sender, requests) = mpsc::channel::<DeltaDiscoveryRequest>(1);
    let mut service = AggregatedDiscoveryServiceClient::new(service(Arc::clone(&control.hub)));
    let answer = service.delta_aggregated_resources(ReceiverStream::new(requests));
    let mute = answer.await.expect("an answer");

    let (_sender, requests) = mpsc::channel::<DeltaDiscoveryRequest>(1);
    let third = service.delta_aggregated_resources(ReceiverStream::new(requests));
    let refused = third.await.expect_err("one too many");

    assert_eq!(refused.code(), tonic::Code::Unavailable);
    drop(mute);
    let mut again = control.connect("web-2.default").await;
    again.settle().await;
    assert_eq!(control.hub.proxies().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_identity_behind_one_address_are_told_apart_by_their_tokens() {
    let control = Control::new(Settings {
        streams_each_max: 2,
        ..Settings::default()
    });
    let mut senders = Vec::new();
    let mut call = async |proof, pod: Option<&str>| {
        let (sender, requests) = mpsc::channel::<DeltaDiscoveryRequest>(1);
        senders.push(sender);
        let mut request = Request::new(ReceiverStream::new(requests));
        request.extensions_mut().insert(Caller {
            id: SpiffeId::workload("cluster.local", "default", "web").expect("an identity"),
            pod: pod.map(Into::into),
            proof,
        });
        let mut service = AggregatedDiscoveryServiceClient::new(service(Arc::clone(&control.hub)));
        service.delta_aggregated_resources(request).await
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(call(Proof::Certificate, None).await.expect("room"));
    }

    let by_certificate = call(Proof::Certificate, None).await.expect_err("too many");

    assert_eq!(by_certificate.code(), tonic::Code::Unauthenticated);
    for pod in ["web-1", "web-1", "web-2", "web-2"] {
        held.push(call(Proof::Token, Some(pod)).await.expect("room"));
    }
    let by_token = call(Proof::Token, Some("web-1"))
        .await
        .expect_err("one pod");
    assert_eq!(by_token.code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_asks_without_end_is_answered_meanwhile() {
    const ASKED: usize = 50_000;
    let control = Control::new(Settings::default());
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let ask = DeltaDiscoveryRequest {
        type_url: DEMANDS.to_owned(),
        resource_names_subscribe: vec!["host:reviews".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let asked = std::iter::repeat_n(ask, ASKED).inspect(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    // The next one is always there.
    let requests = stream::iter(beginning("web-1.default").into_iter().chain(asked));
    let mut service = AggregatedDiscoveryServiceClient::new(service(Arc::clone(&control.hub)));

    let answer = service.delta_aggregated_resources(requests).await;

    let mut responses = answer.expect("an answer").into_inner();
    let first = responses.message().await.expect("a stream");
    assert!(first.is_some());
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < ASKED / 5, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_read_has_no_seat_when_its_time_is_over() {
    let control = Control::new(Settings::default());
    let mut client = control.connect("web-1.default").await;
    let first = client.responses.message().await.expect("a stream");
    assert!(first.is_some());

    tokio::time::advance(Duration::from_secs(20 * 60)).await;
    control.hub.end_overdue(Instant::now());
    assert_eq!(control.hub.proxies().len(), 1);
    tokio::time::advance(Duration::from_secs(11 * 60)).await;
    control.hub.end_overdue(Instant::now());

    assert!(control.hub.proxies().is_empty());
    // What was on its way comes before the end.
    while client.take().await.expect("in good order").is_some() {}
}

#[tokio::test(start_paused = true)]
async fn who_rejects_a_resource_is_not_among_those_who_acknowledged_it() {
    let control = Control::new(Settings::default());
    let mut one = control.connect("one.default").await;
    let mut other = control.connect("other.default").await;
    one.ask("host:reviews").await;
    one.settle().await;
    other.ask("host:reviews").await;
    let told = loop {
        let response = other.responses.message().await.expect("a stream");
        let response = response.expect("a response");
        if response.type_url == RESOURCES && !response.resources.is_empty() {
            break response;
        }
        other.acknowledge(&response, None).await;
    };
    let error = crate::proto::discovery::Status {
        code: 3,
        message: "no".to_owned(),
    };
    other.acknowledge(&told, Some(error)).await;
    other.settle().await;

    let name = "Service/default/reviews".parse().expect("a name");
    let spread = control.hub.spread()[&name];

    assert_eq!((spread.current, spread.older, spread.rejected), (1, 0, 1));
}

#[test]
fn not_every_refusal_is_logged() {
    let hub = Hub::new(Settings::default(), &Registry::new()).expect("a registry of its own");

    let told = (0..1_000).filter(|_| hub.tells_refusal()).count();

    assert!((50..100).contains(&told), "{told}");
}

#[test]
fn ten_thousand_resources_of_the_longest_names_fit_into_a_request() {
    let versions = (0..10_000).map(|number| {
        let (namespace, name) = ("n".repeat(63), "r".repeat(248));
        let name = format!("RequestAuthentication/{namespace}/{name}{number:05}");
        (name, config::wire::version(""))
    });
    let request = DeltaDiscoveryRequest {
        type_url: RESOURCES.to_owned(),
        initial_resource_versions: versions.collect(),
        ..DeltaDiscoveryRequest::default()
    };

    assert!(request.encoded_len() < REQUEST_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_says_nothing_and_one_that_is_old_are_ended() {
    let control = Control::new(Settings::default());
    let (_sender, requests) = mpsc::channel(1);
    let mut client = AggregatedDiscoveryServiceClient::new(service(Arc::clone(&control.hub)));
    let answer = client.delta_aggregated_resources(ReceiverStream::new(requests));
    let mut mute = answer.await.expect("an answer").into_inner();
    let ended = mute.message().await.expect_err("the end");
    assert_eq!(ended.code(), tonic::Code::DeadlineExceeded);

    let mut old = control.connect("web-1.default").await;
    old.settle().await;
    assert!(old.take().await.expect("in good order").is_none());
}

#[tokio::test]
async fn nobody_is_taken_in_while_what_is_known_is_old() {
    let control = Control::new(Settings::default());
    let current = Arc::new(AtomicBool::new(true));
    let is_current = Arc::clone(&current);
    let service = service_while(Arc::clone(&control.hub), move || {
        is_current.load(Ordering::Relaxed)
    });
    let mut client = AggregatedDiscoveryServiceClient::new(service);
    let (_open, requests) = mpsc::channel(1);
    let open = client.delta_aggregated_resources(ReceiverStream::new(requests));
    let mut open = open.await.expect("an answer").into_inner();

    current.store(false, Ordering::Relaxed);

    let (_sender, requests) = mpsc::channel(1);
    let refused = client.delta_aggregated_resources(ReceiverStream::new(requests));
    let status = refused.await.expect_err("a refusal");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(open.message().now_or_never().is_none(), "it stays");
}
