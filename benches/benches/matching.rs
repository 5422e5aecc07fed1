//! What finding the rule of a request costs, by the number of rules and what they ask for.
//!
//! The request always meets the last rule. `mix` is the shape of `compare`'s `http1-100`: half of
//! the rules have another path, half the request's path and another value of a header.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use proxy::table::matcher::{Matcher, PathMatcher};
use proxy::table::route::{Action, DirectResponse, Route};
use proxy::table::rules::{Conditions, HeaderCondition, RequestView, Rule, Rules};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNTS: [usize; 3] = [1, 100, 10_000];
const PATH: &str = "/reviews/0/stars";
const TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// What the rules ask for.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Exact,
    Prefix,
    Header,
    Mix,
}

fn matching(criterion: &mut Criterion) {
    let headers = headers();
    let request = request(&headers);
    let mut group = criterion.benchmark_group("matching");
    for (name, shape) in [
        ("exact", Shape::Exact),
        ("prefix", Shape::Prefix),
        ("header", Shape::Header),
        ("mix", Shape::Mix),
    ] {
        for count in COUNTS {
            let rules = rules(shape, count);
            let found = rules.find(&request).map(|rule| &*rule.route.name);
            assert_eq!(found, Some("wanted"));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| rules.find(black_box(&request)).is_some());
            });
        }
    }
    group.finish();
}

/// `count` rules of which the request meets the last.
fn rules(shape: Shape, count: usize) -> Rules {
    let other = route("other");
    let others = (0..count - 1).map(|number| {
        let (path, others) = match shape {
            Shape::Exact => (other_path(number, PathMatcher::Exact), None),
            Shape::Prefix => (other_path(number, PathMatcher::Prefix), None),
            Shape::Header => (wanted_path(), Some(tenant(&format!("other-{number}")))),
            Shape::Mix if number % 2 == 0 => (other_path(number, PathMatcher::Prefix), None),
            Shape::Mix => (wanted_path(), Some(tenant(&format!("other-{number}")))),
        };
        Rule {
            path,
            others,
            route: Arc::clone(&other),
            block: 0,
            number: 0,
        }
    });
    let (path, conditions) = match shape {
        Shape::Exact => (PathMatcher::Exact(PATH.as_bytes().into()), None),
        Shape::Prefix => (wanted_path(), None),
        Shape::Header | Shape::Mix => (wanted_path(), Some(tenant("wanted"))),
    };
    let wanted = Rule {
        path,
        others: conditions,
        route: route("wanted"),
        block: 0,
        number: 0,
    };
    Rules::new(others.chain([wanted]).collect())
}

fn other_path(number: usize, matcher: fn(Box<[u8]>) -> PathMatcher) -> PathMatcher {
    matcher(format!("/reviews/{}/stars", number + 1).into_bytes().into())
}

fn wanted_path() -> PathMatcher {
    PathMatcher::Prefix(b"/reviews/0".as_slice().into())
}

fn tenant(value: &str) -> Box<Conditions> {
    let matcher = Matcher::Exact(value.as_bytes().into());
    Box::new(Conditions {
        headers: [HeaderCondition::new(TENANT, matcher, false)].into(),
        ..Conditions::default()
    })
}

fn route(name: &str) -> Arc<Route> {
    let answer = DirectResponse {
        status: StatusCode::OK,
        body: Bytes::new(),
    };
    Arc::new(Route::new(name, Action::Direct(answer)))
}

/// Headers as a browser sends them, with the one that rules ask for among them.
fn headers() -> HeaderMap {
    let lines = [
        ("host", "reviews"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-language", "en"),
        ("accept-encoding", "gzip"),
        ("x-request-id", "4a6d0c6e-2f6b-4f5e-9a0c-8d8f4f0e1c11"),
        ("x-tenant", "wanted"),
        ("cookie", "session=1"),
    ];
    let lines = lines.map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    lines.into_iter().collect()
}

fn request(headers: &HeaderMap) -> RequestView<'_> {
    RequestView {
        method: "GET",
        scheme: "http",
        authority: "reviews",
        port: 9080,
        target: PATH,
        path: PATH,
        query: None,
        headers,
        token: None,
    }
}

criterion_group!(benches, matching);
criterion_main!(benches);
