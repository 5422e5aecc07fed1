//! What is told, in which order, and what of it is told again.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::fixture::{demand, generation, proxy};
use crate::proto::discovery::Status;
use crate::scope::{self, Proxy};

mod own;
mod sequences;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
";
const SERVICE: &str = "Service/default/reviews";
const SLICE: &str = "EndpointSlice/default/reviews-1";

/// A session and what it is told from.
struct Table {
    session: Session,
    proxy: Proxy,
    generation: Arc<Generation>,
}

impl Table {
    fn new(yaml: &str) -> Self {
        Self {
            session: Session::default(),
            proxy: proxy("default", &["app=web"]),
            generation: generation(yaml),
        }
    }

    fn hear(&mut self, request: &DeltaDiscoveryRequest) -> Heard {
        let heard = self.session.hear(request, &self.generation);
        let heard = heard.expect("within bounds");
        if heard.asks {
            self.session.renew();
        }
        heard
    }

    fn subscribe(&mut self, type_url: &str, has: &[(&str, &str)]) {
        let has = has
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
        self.hear(&DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: has.collect(),
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn ask(&mut self, names: &[&str]) -> Heard {
        self.hear(&DeltaDiscoveryRequest {
            type_url: DEMANDS.to_owned(),
            resource_names_subscribe: names.iter().map(|it| (*it).to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn renew(&mut self, yaml: &str) {
        self.generation = generation(yaml);
        self.session.renew();
    }

    fn tell(&mut self) -> Option<DeltaDiscoveryResponse> {
        let demands: Vec<Demand> = self.session.demands().cloned().collect();
        let scope = scope::scope(&self.generation, &self.proxy, &demands);
        self.session.tell(&self.generation, &scope, Instant::now())
    }

    /// Everything that is told until nothing is without an acknowledgement: `+name`, `-name`, or the
    /// type of a response that says nothing.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(response) = self.tell() {
            told.extend(words(&response));
        }
        told
    }

    /// The same, where everything is acknowledged.
    fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(response) = self.tell() {
            told.extend(words(&response));
            self.acknowledge(&response, None);
        }
        told
    }

    fn acknowledge(&mut self, response: &DeltaDiscoveryResponse, error: Option<Status>) -> Heard {
        self.hear(&DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        })
    }
}

fn words(response: &DeltaDiscoveryResponse) -> Vec<String> {
    let told = response.resources.iter().map(|it| format!("+{}", it.name));
    let gone = response.removed_resources.iter().map(|it| format!("-{it}"));
    let words: Vec<String> = told.chain(gone).collect();
    match words.is_empty() {
        true => vec![response.type_url.clone()],
        false => words,
    }
}

fn versions(response: &DeltaDiscoveryResponse) -> HashMap<String, String> {
    let resources = response.resources.iter();
    resources
        .map(|it| (it.name.clone(), it.version.clone()))
        .collect()
}

#[test]
fn both_types_are_answered_at_first_even_if_there_is_nothing() {
    let mut table = Table::new(MESH);
    assert!(table.told().is_empty());
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);

    assert_eq!(table.settle(), [ENDPOINTS, RESOURCES]);
    table.session.renew();
    assert!(table.settle().is_empty());
    assert!(table.session.is_at_rest());
}

#[test]
fn a_demand_is_answered_after_what_it_needs_and_endpoints_come_before_what_leads_to_them() {
    let mut table = Table::new(MESH);
    // As whoever comes back does: what it asks for comes first.
    table.ask(&["host:reviews", "host:nobody"]);
    assert!(table.told().is_empty());
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);

    let mut told = table.told();
    told[2..].sort();

    let [slice, service] = [SLICE, SERVICE].map(|it| format!("+{it}"));
    let answers = ["+host:nobody".to_owned(), "+host:reviews".to_owned()];
    assert_eq!(told, [vec![slice, service], answers.to_vec()].concat());
}

#[test]
fn what_changes_while_a_response_is_on_its_way_is_in_the_next() {
    let mut table = Table::new(MESH);
    table.ask(&["host:reviews"]);
    table.subscribe(ENDPOINTS, &[]);
    table.subscribe(RESOURCES, &[]);
    let first = table.tell().expect("endpoints");
    table.told();

    table.renew(&MESH.replace("10.0.0.1", "10.0.0.2"));
    assert!(table.told().is_empty());
    table.renew(&MESH.replace("10.0.0.1", "10.0.0.3"));
    assert!(table.told().is_empty());
    table.acknowledge(&first, None);

    assert_eq!(table.told(), [format!("+{SLICE}")]);
}

#[test]
fn whoever_comes_back_is_told_the_difference() {
    let mut table = Table::new(MESH);
    table.ask(&["host:reviews"]);
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);
    let endpoints = versions(&table.tell().expect("endpoints"));
    let resources = versions(&table.tell().expect("resources"));

    let mut again = Table::new(&MESH.replace("10.0.0.1", "10.0.0.2"));
    again.ask(&["host:reviews"]);
    let gone = "VirtualService/default/gone";
    let has = [(SERVICE, resources[SERVICE].as_str()), (gone, "1")];
    again.subscribe(RESOURCES, &has);
    again.subscribe(ENDPOINTS, &[(SLICE, &endpoints[SLICE])]);

    let told = again.settle();
    assert_eq!(
        told,
        [
            format!("+{SLICE}"),
            format!("-{gone}"),
            "+host:reviews".to_owned()
        ]
    );
}

#[test]
fn what_a_proxy_has_may_be_said_in_several_requests() {
    let mut first = Table::new(MESH);
    first.ask(&["host:reviews"]);
    first.subscribe(RESOURCES, &[]);
    first.subscribe(ENDPOINTS, &[]);
    let endpoints = versions(&first.tell().expect("endpoints"));
    let resources = versions(&first.tell().expect("resources"));
    let mut again = Table::new(MESH);
    again.ask(&["host:reviews"]);
    let part = |version: &str, names: std::ops::Range<usize>| DeltaDiscoveryRequest {
        type_url: RESOURCES.to_owned(),
        initial_resource_versions: names
            .map(|it| {
                (
                    format!("VirtualService/default/gone-{it}"),
                    version.to_owned(),
                )
            })
            .collect(),
        ..DeltaDiscoveryRequest::default()
    };
    again.subscribe(ENDPOINTS, &[(SLICE, &endpoints[SLICE])]);
    again.settle();

    for begin in [0, 3_000, 6_000] {
        again.hear(&part("1", begin..begin + 3_000));
        assert_eq!(again.told(), [ENDPOINTS; 0], "it has more to say");
        assert!(!again.session.is_to_come_again(), "it has more to say");
    }
    again.subscribe(RESOURCES, &[(SERVICE, &resources[SERVICE])]);

    // However it is said, only so much is kept of what there is not.
    assert_eq!(again.session.has().count(), 4_096 + 2);
    let told = again.settle();
    assert!(
        told.iter()
            .all(|it| !it.starts_with(&format!("+{SERVICE}")))
    );
    let gone = told.iter().filter(|it| it.contains("/gone-"));
    assert_eq!(gone.count(), 4_096);
    assert!(again.session.is_to_come_again());
}

#[test]
fn what_is_known_only_as_refused_is_left_to_those_who_have_it() {
    let good = "VirtualService/default/good";
    let mut table = Table::new(MESH);
    table.ask(&["host:reviews"]);
    let reasons = vec!["wrong".to_owned()];
    let refuse = |table: &mut Table, refused: &[&str]| {
        let refused = refused.iter().map(|it| it.parse().expect("a name"));
        let generation = Arc::make_mut(&mut table.generation);
        generation.refused = Arc::new(refused.map(|it| (it, reasons.clone())).collect());
    };
    refuse(&mut table, &[good]);
    table.subscribe(RESOURCES, &[(good, "1")]);
    table.subscribe(ENDPOINTS, &[]);

    assert!(!table.settle().contains(&format!("-{good}")));
    assert!(table.session.is_at_rest());
    refuse(&mut table, &[]);
    table.session.renew();
    assert_eq!(table.settle(), [format!("-{good}")]);
}

#[test]
fn after_a_part_there_is_a_last_one_even_if_nothing_is_left_to_tell() {
    let body = "x".repeat(900_000);
    let route = |number: usize| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number:02}}}\n\
             spec: {{hosts: [reviews], http: [{{directResponse: {{status: 200, body: {{string: {body}}}}}}}]}}\n"
        )
    };
    let mesh = |count| {
        (0..count)
            .map(route)
            .fold(MESH.to_owned(), |all, it| all + &it)
    };
    let mut table = Table::new(&mesh(12));
    table.ask(&["host:reviews"]);
    table.subscribe(ENDPOINTS, &[]);
    table.subscribe(RESOURCES, &[]);
    table.tell().expect("endpoints");
    let part = table.tell().expect("a part");
    assert!(part.system_version_info.is_empty());
    let routes = part.resources.iter();
    let routes = routes.filter(|it| it.name.starts_with("VirtualService/"));

    table.renew(&mesh(routes.count()));
    table.acknowledge(&part, None);

    let last = table.tell().expect("the last");
    assert_eq!(words(&last), [RESOURCES]);
    assert!(!last.system_version_info.is_empty());
}

#[test]
fn slices_go_away_after_what_led_to_them() {
    let mut table = Table::new(MESH);
    table.ask(&["host:reviews"]);
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);
    table.settle();

    table.hear(&DeltaDiscoveryRequest {
        type_url: DEMANDS.to_owned(),
        resource_names_unsubscribe: vec!["host:reviews".to_owned()],
        ..DeltaDiscoveryRequest::default()
    });

    assert_eq!(table.told(), [format!("-{SERVICE}"), format!("-{SLICE}")]);
}

#[test]
fn what_was_rejected_is_noted_and_told_again_only_in_another_form() {
    let mut table = Table::new(MESH);
    table.ask(&["host:reviews"]);
    table.subscribe(ENDPOINTS, &[]);
    table.subscribe(RESOURCES, &[]);
    table.tell().expect("endpoints");
    let resources = table.tell().expect("resources");
    let message = format!("{{\"rejected\": [{{\"name\": \"{SERVICE}\", \"message\": \"no\"}}]}}");
    let error = Status { code: 3, message };

    let heard = table.acknowledge(&resources, Some(error));

    assert_eq!(heard.rejected, 1);
    let rejected = |table: &Table| table.session.summary().report.rejected;
    assert_eq!(rejected(&table)[0].message, "no");
    table.session.renew();
    assert!(!table.told().contains(&format!("+{SERVICE}")));
    table.renew(&MESH.replace("port: 80}", "port: 81}"));
    let again = table.tell().expect("another form");
    assert_eq!(words(&again), [format!("+{SERVICE}")]);
    table.acknowledge(&again, None);
    assert!(rejected(&table).is_empty());
}

#[test]
fn an_answer_changes_when_somebody_comes() {
    let mut table = Table::new(MESH);
    table.ask(&["host:ratings"]);
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);
    assert!(table.settle().contains(&"+host:ratings".to_owned()));

    table.renew(&MESH.replace("reviews", "ratings"));

    let told = table.settle();
    assert_eq!(told.last().map(String::as_str), Some("+host:ratings"));
    table.session.renew();
    assert!(table.settle().is_empty());
}

#[test]
fn a_demand_too_many_or_malformed_is_said_to_be_gone() {
    let mut table = Table::new(MESH);
    table.subscribe(RESOURCES, &[]);
    table.subscribe(ENDPOINTS, &[]);
    table.settle();
    let hosts: Vec<String> = (0..4_097).map(|number| format!("host:h{number}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();

    table.ask(&hosts);
    table.ask(&["nonsense"]);

    let gone = table.settle();
    let mut gone: Vec<&String> = gone.iter().filter(|it| it.starts_with('-')).collect();
    gone.sort();
    assert_eq!(gone, ["-host:h4096", "-nonsense"]);
    assert!(table.session.demands().any(|it| *it == demand("host:h0")));
    assert_eq!(table.session.summary().demands, 4_096);
}

#[test]
fn requests_out_of_bounds_end_the_session() {
    let mut session = Session::default();
    let generation = generation(MESH);
    let request = |type_url: &str, name: &str| DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec![name.to_owned()],
        ..DeltaDiscoveryRequest::default()
    };

    assert_eq!(
        session.hear(&request("other", "*"), &generation).err(),
        Some(Breach::Type)
    );
    let long = "a".repeat(601);
    assert_eq!(
        session.hear(&request(DEMANDS, &long), &generation).err(),
        Some(Breach::Name)
    );
    let come_back = DeltaDiscoveryRequest {
        type_url: RESOURCES.to_owned(),
        initial_resource_versions: [(SERVICE.to_owned(), long)].into(),
        ..DeltaDiscoveryRequest::default()
    };
    let breach = session.hear(&come_back, &generation).err();
    assert_eq!(breach, Some(Breach::Name));
}

#[test]
fn whoever_comes_with_much_that_there_is_not_gives_it_up_in_several_goes() {
    let name = |number: usize| format!("VirtualService/default/v{number}");
    let mut has: Vec<(String, String)> = (0..5_000).map(|it| (name(it), "1".to_owned())).collect();
    has.push((SERVICE.to_owned(), "1".to_owned()));
    let mut goes = 0;
    loop {
        let mut table = Table::new(MESH);
        table.ask(&["host:reviews"]);
        let versions = has.iter().map(|(name, it)| (name.as_str(), it.as_str()));
        table.subscribe(RESOURCES, &versions.collect::<Vec<_>>());
        table.subscribe(ENDPOINTS, &[]);
        assert!(table.session.has().count() <= 4_096 + 1);
        assert!(!table.session.is_to_come_again(), "it has to be told first");
        let told: std::collections::HashSet<String> = table.settle().into_iter().collect();
        assert!(told.contains(&format!("+{SERVICE}")));
        has.retain(|(name, _)| !told.contains(&format!("-{name}")));
        goes += 1;
        if !table.session.is_to_come_again() {
            break;
        }
    }

    assert_eq!(goes, 2);
    assert_eq!(has.len(), 1);
}

#[test]
fn an_old_nonce_is_about_nothing() {
    let mut table = Table::new(MESH);
    table.subscribe(RESOURCES, &[]);
    let first = table.tell().expect("the first");
    table.acknowledge(&first, None);

    let heard = table.acknowledge(&first, None);

    assert!(heard.acknowledged.is_none());
}
