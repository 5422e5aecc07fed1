//! Whatever happens in whatever order: when it ends, a proxy has what it needs of what there is, in the
//! words of whoever begins with that.

use std::collections::{BTreeMap, BTreeSet};

use config::mesh::MeshSettings;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::{Event, Object, Pod};
use crate::fixture::objects;
use crate::index::Index;

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    /// An object comes, by its place in [`object`] and its form.
    Apply(u8, u8),
    Delete(u8),
    /// All of a kind, or of all, is told again.
    List(&'static str),
    Everything,
    /// A generation is made, and the proxy is woken as the hub would.
    Publish,
    Ask(u8),
    GiveUp(u8),
    /// The proxy takes the next response, and acknowledges it or not yet.
    Take,
    Acknowledge,
    /// The stream breaks, and the proxy comes back with what it has.
    ComeBack,
}

const HOSTS: [&str; 3] = ["a", "b", "one.example.com"];
const OBJECTS: u8 = 8;

fn step() -> impl Strategy<Value = Step> {
    let object = 0..OBJECTS;
    let host = 0..3_u8;
    prop_oneof![
        4 => (object.clone(), 0..3_u8).prop_map(|(object, form)| Step::Apply(object, form)),
        2 => object.prop_map(Step::Delete),
        1 => prop_oneof![Just("EndpointSlice"), Just("Service"), Just("Pod")].prop_map(Step::List),
        1 => Just(Step::Everything),
        4 => Just(Step::Publish),
        2 => host.clone().prop_map(Step::Ask),
        1 => host.prop_map(Step::GiveUp),
        6 => Just(Step::Take),
        6 => Just(Step::Acknowledge),
        1 => Just(Step::ComeBack),
    ]
}

/// Numbers of the pods.
const PODS: [u8; 2] = [6, 7];

fn object(number: u8, form: u8) -> Object {
    let name = ["a", "b"][usize::from(number % 2)];
    let yaml = match number / 2 {
        0 => format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: 10.1.0.{form}, \
             selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}}}"
        ),
        1 => format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: s-{number}, \
             labels: {{kubernetes.io/service-name: {}}}}}, addressType: IPv4, \
             ports: [{{name: http, port: 80}}], endpoints: [{{addresses: [10.0.0.{form}], \
             targetRef: {{kind: Pod, name: {name}}}}}]}}",
            ["a", "b", name][usize::from(form)]
        ),
        2 => format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, \
             spec: {{hosts: [{name}, one.example.com], \
             http: [{{route: [{{destination: {{host: {}}}}}]}}]}}}}",
            ["a", "b", "one.example.com"][usize::from(form)]
        ),
        _ => {
            return Object::Pod(Pod {
                namespace: "default".into(),
                name: name.into(),
                labels: [("version".to_owned(), format!("v{form}"))].into(),
                ..Pod::default()
            });
        }
    };
    objects(&yaml).remove(0)
}

/// What a proxy holds.
#[derive(Default)]
struct Held {
    documents: BTreeMap<String, (String, Vec<u8>)>,
    answers: BTreeMap<String, String>,
}

struct World {
    told: BTreeMap<Name, Object>,
    index: Index,
    generation: Arc<Generation>,
    asked: BTreeSet<&'static str>,
    session: Session,
    scope: Scope,
    held: Held,
    taken: Vec<DeltaDiscoveryResponse>,
}

impl World {
    fn new() -> Self {
        let mut index = Index::new(MeshSettings::default());
        index.apply(Event::Synced);
        let (generation, _) = index.next(Instant::now()).expect("the first");
        let mut world = Self {
            told: BTreeMap::new(),
            index,
            generation,
            asked: BTreeSet::new(),
            session: Session::default(),
            scope: Scope::default(),
            held: Held::default(),
            taken: Vec::new(),
        };
        world.come_back();
        world
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Apply(number, form) => {
                let object = object(*number, *form);
                self.told.insert(object.name(), object.clone());
                self.index.apply(Event::Applied(vec![object]));
            }
            Step::Delete(number) => {
                let name = object(*number, 0).name();
                self.told.remove(&name);
                self.index.apply(Event::Deleted(vec![name]));
            }
            Step::List(kind) => {
                let objects = self.told.iter().filter(|(name, _)| &*name.kind == *kind);
                let objects = objects.map(|(_, object)| object.clone()).collect();
                self.index.apply(Event::Listed { kind, objects });
            }
            Step::Everything => {
                let objects = self.told.values().cloned().collect();
                self.index.apply(Event::Everything(objects));
            }
            Step::Publish => self.publish(),
            Step::Ask(number) => self.ask(HOSTS[usize::from(*number)], true),
            Step::GiveUp(number) => self.ask(HOSTS[usize::from(*number)], false),
            Step::Take => {
                self.take();
            }
            Step::Acknowledge => {
                self.acknowledge();
            }
            Step::ComeBack => self.come_back(),
        }
    }

    /// As the hub wakes: by what the scope has and depends on, or by the structure.
    fn publish(&mut self) {
        let Some((generation, change)) = self.index.next(Instant::now()) else {
            return;
        };
        self.generation = generation;
        let touched = |touched: &crate::index::Touched| match touched {
            crate::index::Touched::Service(key) => self.scope.services.contains(key),
            _ => false,
        };
        let depends = change
            .touched
            .iter()
            .any(|it| self.scope.depends_on.contains(it));
        if change.everybody || depends {
            self.renew();
        } else if change.touched.iter().any(touched) {
            self.session.renew_endpoints();
        }
    }

    fn renew(&mut self) {
        let demands: Vec<Demand> = self.session.demands().cloned().collect();
        self.scope = scope::scope(&self.generation, &proxy("default", &["app=web"]), &demands);
        self.session.renew();
    }

    fn ask(&mut self, host: &'static str, wants: bool) {
        let name = vec![format!("host:{host}")];
        let mut request = DeltaDiscoveryRequest {
            type_url: DEMANDS.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        if wants {
            self.asked.insert(host);
            request.resource_names_subscribe = name;
        } else {
            self.asked.remove(host);
            self.held.answers.remove(&name[0]);
            request.resource_names_unsubscribe = name;
        }
        self.hear(&request);
    }

    fn hear(&mut self, request: &DeltaDiscoveryRequest) {
        if self
            .session
            .hear(request, &self.generation)
            .expect("within bounds")
            .asks
        {
            self.renew();
        }
    }

    fn take(&mut self) -> bool {
        let told = self
            .session
            .tell(&self.generation, &self.scope, Instant::now());
        let Some(response) = told else { return false };
        for resource in &response.resources {
            let value = resource.resource.as_ref().expect("a value").value.clone();
            let name = resource.name.clone();
            match response.type_url == DEMANDS {
                true => {
                    self.held.answers.insert(name, resource.version.clone());
                }
                false => {
                    let document = (resource.version.clone(), value);
                    self.held.documents.insert(name, document);
                }
            }
        }
        for name in &response.removed_resources {
            self.held.documents.remove(name);
        }
        self.taken.push(response);
        true
    }

    fn acknowledge(&mut self) -> bool {
        if self.taken.is_empty() {
            return false;
        }
        let response = self.taken.remove(0);
        self.hear(&DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        });
        true
    }

    fn come_back(&mut self) {
        self.session = Session::default();
        self.taken.clear();
        self.held.answers.clear();
        self.hear(&DeltaDiscoveryRequest {
            type_url: DEMANDS.to_owned(),
            resource_names_subscribe: self.asked.iter().map(|it| format!("host:{it}")).collect(),
            ..DeltaDiscoveryRequest::default()
        });
        self.renew();
        for type_url in [RESOURCES, ENDPOINTS] {
            let is_endpoints = |name: &str| name.starts_with("EndpointSlice/");
            let held = self.held.documents.iter();
            let held = held.filter(|(name, _)| is_endpoints(name) == (type_url == ENDPOINTS));
            let versions = held.map(|(name, (version, _))| (name.clone(), version.clone()));
            self.hear(&DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                initial_resource_versions: versions.collect(),
                ..DeltaDiscoveryRequest::default()
            });
        }
    }

    /// Lets those pods come that are not there: an endpoint without its pod is told as it was told
    /// before, so that what happened matters.
    fn bring_pods(&mut self) {
        for number in PODS {
            if !self.told.contains_key(&object(number, 0).name()) {
                self.go(&Step::Apply(number, 0));
            }
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        self.publish();
        while self.take() || self.acknowledge() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_a_proxy_ends_with_what_it_needs(steps in vec(step(), 0..60)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.go(step));
        world.bring_pods();

        world.settle();

        let mut fresh = World::new();
        fresh.asked = world.asked.clone();
        fresh.told = world.told.clone();
        fresh.go(&Step::Everything);
        fresh.come_back();
        fresh.settle();
        prop_assert_eq!(&world.held.documents, &fresh.held.documents);
        prop_assert_eq!(&world.held.answers, &fresh.held.answers);
        prop_assert!(world.session.is_at_rest());
    }
}
