//! What each path of the three servers answers.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;
use system::origin;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::admin::{
    AdminState, Command, Lifecycle, authorization, certificates, destinations, drain, jwks,
    rate_limits, routes,
};
use crate::probes::Asker;
use crate::source::control;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// One path of the admin server.
struct Entry {
    method: Method,
    path: &'static str,
    about: &'static str,
    page: fn(&AdminState, Option<&str>) -> Answer,
}

const ENTRIES: [Entry; 14] = [
    Entry {
        method: Method::GET,
        path: "/",
        about: "this index",
        page: index,
    },
    Entry {
        method: Method::GET,
        path: "/config",
        about: "what is loaded, from where, and whether the last change could be used",
        page: config,
    },
    Entry {
        method: Method::GET,
        path: "/listeners",
        about: "addresses that take traffic",
        page: |state, _| {
            json(
                StatusCode::OK,
                &routes::listeners(&state.publisher.current().table),
            )
        },
    },
    Entry {
        method: Method::GET,
        path: "/routes",
        about: "hosts and rules of each listener, in the order they are tried",
        page: |state, _| json(StatusCode::OK, &routes::routes(&state.publisher.current())),
    },
    Entry {
        method: Method::GET,
        path: "/destinations",
        about: "where routes lead: policy, endpoints and their load",
        page: |state, _| {
            let snapshot = state.publisher.current();
            json(
                StatusCode::OK,
                &destinations::destinations(&snapshot.destinations),
            )
        },
    },
    Entry {
        method: Method::GET,
        path: "/limits",
        about: "how many requests may pass, and how many did",
        page: |state, _| {
            json(
                StatusCode::OK,
                &rate_limits::rate_limits(&state.publisher.current().table),
            )
        },
    },
    Entry {
        method: Method::GET,
        path: "/authz",
        about: "policies of authorization, and what they matched",
        page: |state, _| {
            let table = &state.publisher.current().table;
            json(StatusCode::OK, &authorization::policies(table))
        },
    },
    Entry {
        method: Method::GET,
        path: "/certs",
        about: "certificates in use",
        page: |state, _| {
            let facts = state.certificates.lock();
            let facts = facts.unwrap_or_else(PoisonError::into_inner);
            json(
                StatusCode::OK,
                &certificates::certificates(&facts, SystemTime::now()),
            )
        },
    },
    Entry {
        method: Method::GET,
        path: "/dns",
        about: "names that the workload is answered, and their addresses",
        page: |state, _| match &state.dns {
            Some(dns) => json(StatusCode::OK, &dns.shown()),
            None => json(StatusCode::OK, &json!({"listening": []})),
        },
    },
    Entry {
        method: Method::GET,
        path: "/jwks",
        about: "issuers of tokens whose keys are fetched",
        page: |state, _| {
            json(
                StatusCode::OK,
                &jwks::issuers(&state.publisher.current().table),
            )
        },
    },
    Entry {
        method: Method::PUT,
        path: "/log",
        about: "?filter=FILTER: log by another filter, such as info or info,proxy=debug",
        page: set_log_filter,
    },
    Entry {
        method: Method::GET,
        path: "/drain",
        about: "connections and requests of each listener, and how far a drain is",
        page: |state, _| {
            let stage = *state.stage.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = drain::shown(&state.loads, &stage, Instant::now());
            json(StatusCode::OK, &shown)
        },
    },
    Entry {
        method: Method::POST,
        path: "/drain",
        about: "stop taking new work and finish what there is; ?direction=inbound, outbound or all",
        page: |state, query| match drain::scope(query) {
            Some(scope) => send(state, Command::Drain(scope), "draining"),
            None => error(
                StatusCode::BAD_REQUEST,
                "direction must be inbound, outbound or all",
            ),
        },
    },
    Entry {
        method: Method::POST,
        path: "/quitquitquit",
        about: "drain and exit",
        page: |state, _| send(state, Command::Quit, "quitting"),
    },
];

/// The admin server.
pub(super) fn admin<B>(state: &AdminState, request: &Request<B>) -> Answer {
    if let Some(reason) = origin::refusal(request.uri(), request.headers()) {
        return error(StatusCode::FORBIDDEN, reason);
    }
    let path = request.uri().path();
    let entries = || ENTRIES.iter().filter(|entry| entry.path == path);
    let asked = entries().find(|entry| is_asked_by(&entry.method, request.method()));
    if let Some(entry) = asked {
        return (entry.page)(state, request.uri().query());
    }
    let allowed: Vec<&str> = entries().map(|entry| entry.method.as_str()).collect();
    match allowed.is_empty() {
        true => error(StatusCode::NOT_FOUND, "no such path; GET / lists all"),
        false => wrong_method(&allowed.join(", ")),
    }
}

/// The metrics server.
pub(super) fn metrics<B>(state: &AdminState, request: &Request<B>) -> Answer {
    match request.uri().path() {
        "/metrics" | "/stats/prometheus" => get(request, || {
            answer(StatusCode::OK, METRICS_TYPE, (state.metrics)())
        }),
        _ => error(
            StatusCode::NOT_FOUND,
            "no such path; metrics are at /metrics",
        ),
    }
}

/// The health server, asked at an address of ours: our own health, and probes of the application.
pub(super) async fn health<B>(
    state: &AdminState,
    request: &Request<B>,
    asked_at: Option<IpAddr>,
) -> Answer {
    let path = request.uri().path();
    let (Some(prober), Some(asked_at)) = (&state.probes, asked_at) else {
        return own_health(state, request);
    };
    if request.method() != Method::GET {
        return own_health(state, request);
    }
    let agent = request.headers().get(USER_AGENT);
    match prober.probe(path, Asker { asked_at, agent }).await {
        Some(status) => answer(status, TEXT_TYPE, format!("{}\n", status.as_u16())),
        None => own_health(state, request),
    }
}

fn own_health<B>(state: &AdminState, request: &Request<B>) -> Answer {
    let lifecycle = *state.lifecycle.borrow();
    let (status, text) = match (request.uri().path(), lifecycle) {
        ("/healthz/ready", Lifecycle::Ready) => (StatusCode::OK, "ready\n"),
        ("/healthz/ready", Lifecycle::Starting) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        ("/healthz/ready", Lifecycle::Draining | Lifecycle::Replaced) => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        ("/healthz/live", _) => (StatusCode::OK, "live\n"),
        _ => {
            let message = "no such path; there are /healthz/ready and /healthz/live";
            return error(StatusCode::NOT_FOUND, message);
        }
    };
    get(request, || answer(status, TEXT_TYPE, text.to_owned()))
}

fn index(_: &AdminState, _: Option<&str>) -> Answer {
    let entry = |entry: &Entry| {
        json!({
            "method": entry.method.as_str(),
            "path": entry.path,
            "about": entry.about,
        })
    };
    json(
        StatusCode::OK,
        &ENTRIES.iter().map(entry).collect::<Vec<_>>(),
    )
}

fn config(state: &AdminState, _: Option<&str>) -> Answer {
    let config = state.config.lock();
    let mut config = config.unwrap_or_else(PoisonError::into_inner).clone();
    config.control = state.control.as_ref().map(control::View::shown);
    json(StatusCode::OK, &config)
}

fn set_log_filter(state: &AdminState, query: Option<&str>) -> Answer {
    let mut parameters = query.unwrap_or_default().split('&');
    let Some(filter) = parameters.find_map(|parameter| parameter.strip_prefix("filter=")) else {
        return error(StatusCode::BAD_REQUEST, "needs ?filter=FILTER");
    };
    let filter = match decode(filter) {
        Some(filter) if !filter.is_empty() => filter,
        _ => {
            return error(
                StatusCode::BAD_REQUEST,
                "filter must be percent-encoded text",
            );
        }
    };
    match EnvFilter::try_new(&filter) {
        Ok(_) => send(state, Command::SetLogFilter(filter), "set"),
        Err(problem) => error(StatusCode::BAD_REQUEST, &format!("filter: {problem}")),
    }
}

fn send(state: &AdminState, command: Command, status: &str) -> Answer {
    match state.commands.try_send(command) {
        Ok(()) => json(StatusCode::OK, &json!({"status": status})),
        Err(TrySendError::Full(_)) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many commands at once, try again",
        ),
        Err(TrySendError::Closed(_)) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping, takes no commands any more",
        ),
    }
}

/// The text behind `%XX`; `+` stays, as filters have no spaces. `None` for what is not UTF-8 or has a
/// broken escape.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = tail
            .get(..2)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

fn get<B>(request: &Request<B>, page: impl FnOnce() -> Answer) -> Answer {
    match is_asked_by(&Method::GET, request.method()) {
        true => page(),
        false => wrong_method(Method::GET.as_str()),
    }
}

/// HEAD may ask for whatever GET may; the server leaves the body out by itself.
fn is_asked_by(method: &Method, asked: &Method) -> bool {
    method == asked || (method == Method::GET && asked == Method::HEAD)
}

fn wrong_method(allowed: &str) -> Answer {
    let mut answer = error(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this path takes {allowed} only"),
    );
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({"error": message}))
}

fn json(status: StatusCode, body: &(impl Serialize + ?Sized)) -> Answer {
    match serde_json::to_string_pretty(body) {
        Ok(mut text) => {
            text.push('\n');
            answer(status, JSON_TYPE, text)
        }
        Err(problem) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT_TYPE,
            format!("{problem}\n"),
        ),
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
