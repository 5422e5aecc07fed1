//! The tables of `testdata/authorization` by the compiled policies, and the compiled policies against
//! an evaluator of its own.

mod agreement;
pub(crate) mod cases;
mod naive;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use config::load::parse;
use config::mesh::{Mesh, MeshSettings, Viewer};
use config::spiffe::SpiffeId;
use http::{HeaderValue, Request, header};

use super::judge::Judgement;
use super::*;
use crate::body::Body;
use crate::inbound::jwt::Token;
use crate::request::Arrived;
use crate::request::headers::{Reception, receive};
use crate::request::limits::Limits;
use crate::request::path::Normalization;
use crate::table::Bind;
use crate::table::compile::{Compiler, Perspective};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::tls::Security;
use crate::tls::clients::{Authorities, Demands, Leniency, Presence};
use cases::{Case, Group, Part};

/// A gateway, so that there is a listener that policies are for.
const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}
";

/// What policies of these documents say to a workload in namespace `default` with label `app: app`.
pub(super) fn authorization(documents: &[String]) -> Option<Arc<Authorization>> {
    let text = format!("{GATEWAY}---\n{}", documents.join("---\n"));
    let loaded = parse("cases.yaml", &text, "default");
    assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
    compiled(&Mesh::new(&loaded.resources, MeshSettings::default()))
}

pub(super) fn compiled(mesh: &Mesh) -> Option<Arc<Authorization>> {
    compiled_in(mesh, "cluster.local")
}

/// The same for a workload of this trust domain.
fn compiled_in(mesh: &Mesh, trust_domain: &str) -> Option<Arc<Authorization>> {
    let perspective = Perspective {
        viewer: Viewer {
            namespace: "default".into(),
            labels: [("app".to_owned(), "app".to_owned())].into(),
        },
        identity: Identity::unknown(),
        cluster: "Kubernetes".into(),
        locality: None,
        bind: Ipv4Addr::UNSPECIFIED.into(),
        principal: format!("spiffe://{trust_domain}/ns/default/sa/default"),
        captures: false,
    };
    let metrics = Metrics::new(Identity::unknown(), 100);
    let table = Compiler::new(perspective, metrics).compile(mesh).table;
    let admission = table.listeners.first()?.admission.as_ref()?;
    admission.authorization.clone()
}

/// A case, and the connection that it comes on.
struct Asked {
    downstream: Downstream,
    direction: Direction,
    limits: Limits,
    arrived: Option<Arrived>,
    token: Option<Box<Token>>,
}

fn asked(case: &Case) -> Asked {
    let (mut method, mut target, mut host) = ("GET", "/", "app");
    let (mut peer, mut local, mut port) = ("10.0.0.1", "10.0.0.9", 8080);
    let (mut sni, mut principal) = (None, None);
    let (mut direction, mut limits) = (Direction::Inbound, Limits::default());
    let (mut tcp, mut token) = (false, None);
    let mut head = Request::new(()).into_parts().0;
    for part in &case.parts {
        match part {
            Part::Request(m, t) => (method, target) = (m, t),
            Part::Tcp => tcp = true,
            Part::Gateway => direction = Direction::Gateway,
            Part::MergeSlashes => limits.normalization = Normalization::MergeSlashes,
            Part::DecodeSlashes => limits.normalization = Normalization::DecodeAndMergeSlashes,
            Part::From(id) => principal = SpiffeId::parse(&format!("spiffe://{id}")).ok(),
            Part::Ip(ip) => peer = ip,
            Part::To(ip) => local = ip,
            Part::Port(number) => port = *number,
            Part::Host(authority) => host = authority,
            Part::Sni(name) => sni = Some(name.as_str()),
            Part::Claims(json) => {
                let claims = serde_json::from_str(json).expect("claims");
                token = Some(Box::new(Token::of(claims)));
            }
            Part::Header(name, value) => {
                let name: http::HeaderName = name.parse().expect("a name");
                head.headers.append(name, value.parse().expect("a value"));
            }
        }
    }
    let addr = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
    let bind = Bind::Tcp(addr("0.0.0.0", 8080));
    let mut downstream = Downstream::new(bind, Some(addr(peer, 40_000)), Some(addr(local, port)));
    if sni.is_some() || principal.is_some() {
        downstream.security = Some(Security {
            principal,
            ..Security::unproved(sni.unwrap_or_default().into())
        });
    }
    head.method = method.parse().expect("a method");
    head.uri = target.parse().expect("a target");
    let host = HeaderValue::from_str(host).expect("a host");
    head.headers.insert(header::HOST, host);
    let arrived = Arrived {
        head: Box::new(head),
        body: None,
        spelling: None,
        interim: None,
        upgrade: None,
    };
    Asked {
        downstream,
        direction,
        limits,
        arrived: (!tcp).then_some(arrived),
        token,
    }
}

fn told(judgement: Judgement) -> String {
    let by = |matched: policy::Matched| format!("{}[{}]", matched.policy.name, matched.rule);
    match judgement {
        Judgement::Allowed(None) => "allow".to_owned(),
        Judgement::Allowed(Some(matched)) => format!("allow {}", by(matched)),
        Judgement::Denied(Denial::Matched(matched) | Denial::Unasked(matched)) => {
            format!("deny {}", by(matched))
        }
        Judgement::Denied(Denial::NotAllowed) => "deny none".to_owned(),
    }
}

/// What becomes of a case.
fn verdict(authorization: Option<&Authorization>, case: &Case) -> String {
    let asked = asked(case);
    let Some(authorization) = authorization else {
        return "allow".to_owned();
    };
    let Some(arrived) = asked.arrived else {
        return told(authorization.judge(&authorization.connection_facts(&asked.downstream)));
    };
    let reception = Reception {
        downstream: &asked.downstream,
        direction: asked.direction,
        limits: &asked.limits,
        normalization: asked.limits.normalization,
        explains: false,
    };
    let Ok(mut outgoing) = receive(arrived, Body::Empty, &reception, || 0) else {
        return "refuse".to_owned();
    };
    outgoing.token = asked.token;
    if authorization.looks_at_headers {
        outgoing.settle_headers();
    }
    let facts = authorization.facts(&asked.downstream, asked.direction, &outgoing);
    told(authorization.judge(&facts))
}

fn groups() -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/authorization");
    let files = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let groups = paths.iter().flat_map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        cases::parse(&name, &fs::read_to_string(path).expect("a text"))
    });
    groups.collect()
}

#[test]
fn every_case_of_the_tables_gets_its_verdict() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for group in groups() {
        assert!(!group.cases.is_empty(), "{}", group.place);
        let authorization = authorization(&group.documents);
        for case in &group.cases {
            count += 1;
            let verdict = verdict(authorization.as_deref(), case);
            if verdict != case.verdict {
                let (place, wanted) = (&case.place, &case.verdict);
                wrong.push(format!("{place}: wanted {wanted}, got {verdict}"));
            }
        }
    }

    assert_eq!(wrong, [""; 0]);
    assert!(count >= 300, "{count} cases");
}

#[test]
fn cluster_local_in_a_policy_is_the_mesh_whatever_it_is_called_and_never_a_stranger() {
    let policies = parse(
        "p.yaml",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n\
         spec: {rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]}\n",
        "default",
    );
    let mut resources = parse("g.yaml", GATEWAY, "default").resources;
    resources.extend(policies.resources);
    let of_aliases = |aliases: &[&str]| MeshSettings {
        trust_domains: aliases.iter().map(|it| (*it).to_owned()).collect(),
        ..MeshSettings::default()
    };
    for (own, aliases, peer, expected) in [
        ("corp", &[][..], "corp", true),
        ("corp", &[], "cluster.local", false),
        ("corp", &["old"], "old", true),
        ("corp", &["old"], "cluster.local", false),
        ("corp", &["cluster.local"], "cluster.local", true),
        ("cluster.local", &["old"], "old", true),
        ("cluster.local", &[], "corp", false),
    ] {
        let mesh = Mesh::new(&resources, of_aliases(aliases));
        let authorization = compiled_in(&mesh, own).expect("a policy");
        let bind = Bind::Tcp(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let mut downstream = Downstream::new(bind, None, None);
        downstream.security = Some(Security {
            principal: SpiffeId::parse(&format!("spiffe://{peer}/ns/a/sa/b")).ok(),
            ..Security::unproved("".into())
        });

        let admitted = authorization.authorize_connection(&downstream);

        assert_eq!(
            admitted.is_ok(),
            expected,
            "{peer} of {own} and {aliases:?}"
        );
    }
}

#[test]
fn authorities_for_clients_from_outside_have_no_say_in_who_workloads_are() {
    let allows = |domain: &str| {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a}}\n\
             spec: {{rules: [{{from: [{{source: {{principals: [{domain}/ns/a/sa/b]}}}}]}}]}}\n"
        );
        authorization(&[text]).expect("a policy")
    };
    let by = |authorities: Option<Authorities>, domain: &str| {
        let bind = Bind::Tcp(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let mut downstream = Downstream::new(bind, None, None);
        let demands = |authorities| Demands {
            presence: Presence::Required,
            authorities,
            revoked: None,
            names: Vec::new(),
            keys: Vec::new(),
            certificates: Vec::new(),
            leniency: Leniency::Refused,
        };
        downstream.security = Some(Security {
            principal: SpiffeId::parse(&format!("spiffe://{domain}/ns/a/sa/b")).ok(),
            met: authorities.map(|it| Arc::new(demands(it))),
            ..Security::unproved("".into())
        });
        allows(domain).authorize_connection(&downstream).is_ok()
    };
    let partner = || Some(Authorities::File("/partner.pem".to_owned()));

    assert!(by(None, "cluster.local") && by(Some(Authorities::Mesh), "cluster.local"));
    assert!(!by(partner(), "cluster.local"), "a stranger's word");
    assert!(by(partner(), "partner"), "of its own people");
}

#[test]
fn a_denial_is_told_as_istio_tells_it() {
    let policies = ["policy d: {action: DENY, rules: [{to: [{operation: {paths: [/d]}}]}]}"];
    let text = format!(
        "{}\npolicy a: {{}}\ndeny d[0] | GET /d\ndeny none | GET /",
        policies[0]
    );
    let groups = cases::parse("t", &text);
    let authorization = authorization(&groups[0].documents).expect("policies");
    let detail = |at: usize| {
        let asked = asked(&groups[0].cases[at]);
        let reception = Reception {
            downstream: &asked.downstream,
            direction: asked.direction,
            limits: &asked.limits,
            normalization: asked.limits.normalization,
            explains: false,
        };
        let arrived = asked.arrived.expect("a request");
        let outgoing = receive(arrived, Body::Empty, &reception, || 0).expect("a request");
        let facts = authorization.facts(&asked.downstream, asked.direction, &outgoing);
        match authorization.judge(&facts) {
            Judgement::Denied(denial) => denial.to_string(),
            Judgement::Allowed(_) => panic!("allowed"),
        }
    };

    assert_eq!(
        detail(0),
        "rbac_access_denied_matched_policy[ns[default]-policy[d]-rule[0]]"
    );
    assert_eq!(detail(1), "rbac_access_denied_matched_policy[none]");
}

#[test]
fn a_connection_that_an_authorizer_has_to_be_asked_about_stays_shut() {
    let text = "policy c: {action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: \
                {ports: ['8080']}}]}]}\nallow | tcp\nallow | tcp; port 80";
    let groups = cases::parse("t", text);
    let authorization = authorization(&groups[0].documents).expect("policies");
    let judged = |at: usize| {
        let asked = asked(&groups[0].cases[at]);
        authorization.authorize_connection(&asked.downstream)
    };

    assert!(matches!(judged(0), Err(Denial::Unasked(_))));
    assert_eq!(judged(1), Ok(()));
}

#[test]
fn what_a_policy_does_is_counted_also_where_it_is_only_tried() {
    let text = "policy dry-run t: {action: DENY, rules: [{}]}\n\
                policy u: {action: AUDIT, rules: [{}]}\nallow | tcp";
    let groups = cases::parse("t", text);
    let authorization = authorization(&groups[0].documents).expect("policies");
    let asked = asked(&groups[0].cases[0]);

    let judged = authorization.authorize_connection(&asked.downstream);

    assert_eq!(judged, Ok(()));
    let counts: Vec<u64> = authorization
        .policies()
        .map(|it| it.matched.get())
        .collect();
    assert_eq!(counts, [1, 1]);
}
