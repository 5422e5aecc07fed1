//! A small table made by hand, and a state that shows it.

use std::time::Duration;

use bytes::Bytes;
use config::resource::virtual_service::VirtualService;
use config::{Metadata, Resource, Source, Spec};
use http::{HeaderName, StatusCode};

use crate::admin::*;
use crate::demand::Used;
use crate::table::edit::HeaderEdit;
use crate::table::host::{HostTable, VirtualHost};
use crate::table::matcher::{Matcher, PathMatcher};
use crate::table::opaque::OpaqueRoutes;
use crate::table::redirect::Redirect;
use crate::table::route::{Action, DirectResponse, Route};
use crate::table::rules::{Conditions, HeaderCondition, Part, PartCondition, Rule, Rules};
use crate::table::split::{DestinationByPort, Split, Sticky, Target};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Table, Transport, UnknownHost};
use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{
    Destination, DestinationId, DestinationKey, Destinations, Live, Policy,
};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};

/// A state with a small table, and the ends of it that the application holds.
pub(in crate::admin) fn state() -> (
    AdminState,
    watch::Sender<Lifecycle>,
    mpsc::Receiver<Command>,
) {
    let publisher = Publisher::default();
    publisher.publish(Arc::new(table()), destinations());
    let (lifecycle, watched) = watch::channel(Lifecycle::Starting);
    let (sender, commands) = mpsc::channel(1);
    let state = AdminState {
        control: None,
        dns: None,
        probes: None,
        publisher,
        config: Mutex::new(ConfigInfo::default()),
        certificates: Mutex::default(),
        metrics: Box::new(|| "a_total 1\n".to_owned()),
        loads: Arc::default(),
        stage: Mutex::default(),
        lifecycle: watched,
        commands: sender,
    };
    (state, lifecycle, commands)
}

fn table() -> Table {
    let host = Arc::new(VirtualHost {
        name: "reviews.default.svc.cluster.local".into(),
        ports: [9080].into(),
        rules: Rules::new(rules()),
        elsewhere: Box::default(),
        used: Used::default(),
    });
    let mut hosts = HostTable::default();
    for name in ["reviews.default.svc.cluster.local", "reviews"] {
        hosts.insert(name, &host);
    }
    Table {
        limits: None,
        normalization: None,
        listeners: vec![Arc::new(Listener {
            bind: Bind::Tcp(([127, 0, 0, 1], 15001).into()),
            name: "outbound".into(),
            direction: Direction::Outbound,
            port_rule: PortRule::Authority,
            unknown_host: UnknownHost::BadGateway,
            hosts,
            transport: Transport::Plain,
            speaks: Speaks::Http,
            opaque: OpaqueRoutes::default(),
            captured: None,
            admission: None,
        })],
    }
}

fn rules() -> Vec<Rule> {
    let origin = Arc::new(Resource {
        meta: Metadata {
            name: "reviews".into(),
            namespace: "default".into(),
            ..Metadata::default()
        },
        source: Source {
            file: std::path::Path::new("mesh/reviews.yaml").into(),
            line: 7,
        },
        spec: Spec::VirtualService(VirtualService::default()),
    });
    let end_user = HeaderName::from_static("end-user");
    let jason = HeaderCondition::new(end_user, Matcher::Exact((*b"jason").into()), false);
    let split = Split::new(
        vec![target("v1", 3), target("v2", 1)],
        Some(Sticky::SourceIp),
    );
    let mut forward = Route::new("main", Action::Forward(split));
    forward.origin = Some(origin);
    forward.position = 1;
    forward.timeout = Some(Duration::from_millis(1_500));
    let teapot = DirectResponse {
        status: StatusCode::IM_A_TEAPOT,
        body: Bytes::from("tea"),
    };
    let rules = [
        (
            PathMatcher::Prefix((*b"/api").into()),
            Some(Conditions {
                parts: Box::new([PartCondition {
                    part: Part::Method,
                    matcher: Matcher::Exact((*b"GET").into()),
                    inverted: false,
                }]),
                headers: [jason].into(),
                ..Conditions::default()
            }),
            forward,
        ),
        (
            PathMatcher::Exact((*b"/old").into()),
            None,
            Route::new("old", Action::Redirect(Redirect::to_https())),
        ),
        (
            PathMatcher::Any,
            None,
            Route::new("rest", Action::Direct(teapot)),
        ),
    ];
    let rules = rules.into_iter().map(|(path, others, route)| Rule {
        path,
        others: others.map(Box::new),
        route: Arc::new(route),
        block: 0,
        number: 0,
    });
    rules.collect()
}

fn target(subset: &str, weight: u32) -> Target {
    Target {
        host: "reviews.default.svc.cluster.local".into(),
        subset: Some(subset.into()),
        port: None,
        weight,
        destination: match subset {
            "v1" => DestinationByPort::Fixed(DestinationId(0)),
            _ => DestinationByPort::Unknown,
        },
        request_headers: HeaderEdit::default(),
        response_headers: HeaderEdit::default(),
    }
}

fn destinations() -> Destinations {
    let addr = EndpointAddr::Tcp(([127, 0, 0, 1], 9081).into());
    let member = Member {
        endpoint: Arc::new(Endpoint::new(addr)),
        weight: 2,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    };
    let destination = Destination {
        key: DestinationKey {
            host: "reviews.default.svc.cluster.local".into(),
            port: 9080,
            subset: "v1".into(),
            inbound: false,
        },
        policy: Policy::default(),
        balancer: Balancer::least_request(vec![member]),
        traffic: TrafficId::UNKNOWN,
        rule: None,
        live: Arc::new(Live::default()),
        window: None,
        originals: None,
    };
    Destinations(vec![Some(Arc::new(destination)), None].into())
}
