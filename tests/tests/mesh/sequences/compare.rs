//! What can be seen of a proxy, without what is of its own: counts, numbers and places of files.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::client::{Http1, empty, request};
use tests::{Proxy, Reply};

use super::documents::LIMITS;

/// Pages of the admin server that say what a mesh is made of.
const PAGES: [&str; 5] = [
    "/listeners",
    "/routes",
    "/destinations",
    "/limits",
    "/authz",
];
/// What of them says how it goes, or where something was written.
const PASSING: [&str; 6] = ["id", "source", "health", "keepAlive", "spoken", "standing"];
/// What counts, where it is a number.
const COUNTS: [&str; 13] = [
    "active",
    "requests",
    "failures",
    "waiting",
    "open",
    "refused",
    "allowed",
    "limited",
    "matched",
    "left",
    "keysInUse",
    "keyBytes",
    "keysEvicted",
];
/// What an account of a request has that may differ from one to the next.
const CHANCE: [&str; 4] = ["endpoint", "tried", "elapsedMs", "attempts"];
/// Most characters of a difference that are told.
const TOLD_MAX: usize = 6_000;
/// What is asked for of each host: a path and who is said to ask.
const QUESTIONS: [(&str, &str); 3] = [("/", "alpha"), ("/x/1", "alpha"), ("/x", "beta")];

/// All pages by their paths.
pub(super) async fn pages(proxy: &Proxy) -> Value {
    let mut pages = json!({});
    for path in PAGES {
        pages[path] = proxy.admin(path).await;
    }
    forget(&mut pages);
    sort(&mut pages["/destinations"]);
    forget_limits(&mut pages);
    pages
}

/// Leaves out limits of routes that the proxy does not have, which limit nothing.
fn forget_limits(pages: &mut Value) {
    let routes = pages["/routes"].to_string();
    if let Value::Array(limits) = &mut pages["/limits"] {
        limits.retain(|limit| {
            let policy = limit["policy"].as_str().unwrap_or_default();
            let target = policy.strip_suffix(LIMITS).unwrap_or(policy);
            routes.contains(&format!("\"VirtualService {target}\""))
        });
    }
}

/// Puts things that have one name in an order of their own: on the page it is that in which they were made.
fn sort(things: &mut Value) {
    if let Value::Array(things) = things {
        things.sort_by_cached_key(Value::to_string);
    }
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let name = name.as_str();
                let counts = value.is_number() && COUNTS.contains(&name);
                !PASSING.contains(&name) && !counts
            });
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Where two values differ; none if they do not.
pub(super) fn difference(told: &Value, read: &Value) -> Option<String> {
    if told == read {
        return None;
    }
    let mut differences = Vec::new();
    differ("", told, read, &mut differences);
    let text = differences.join("\n");
    Some(text.chars().take(TOLD_MAX).collect())
}

fn differ(path: &str, told: &Value, read: &Value, differences: &mut Vec<String>) {
    match (told, read) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            for (name, value) in a {
                differ(&format!("{path}.{name}"), value, &b[name], differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{at}]"), a, b, differences);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let missing = |of: &[Value], among: &[Value]| -> Vec<String> {
                let missing = of.iter().filter(|it| !among.contains(it));
                missing.map(Value::to_string).collect()
            };
            differences.push(format!("{path}: only told: {:#?}", missing(a, b)));
            differences.push(format!("{path}: only read: {:#?}", missing(b, a)));
        }
        (a, b) => differences.push(format!("{path}: told {a}, read {b}")),
    }
}

/// What becomes of requests for these hosts at an address, one after the other.
pub(super) async fn answers(addr: SocketAddr, hosts: &[&str]) -> Value {
    let mut answers = json!({});
    let mut client = Http1::connect(addr).await;
    for host in hosts {
        for (path, user) in QUESTIONS {
            let headers = [("x-user", user), ("x-meshproxy-explain", "1")];
            let asked = request(http::Method::GET, host, path, &headers, empty());
            let reply = client.try_send(asked).await;
            let is_over = reply
                .as_ref()
                .map_or(true, |it| it.header("connection") == "close");
            answers[format!("{host}{path} of {user}")] = reply.map_or(Value::Null, |it| seen(&it));
            if is_over || client.is_closed() {
                client = Http1::connect(addr).await;
            }
        }
    }
    answers
}

/// An answer without what is left to chance.
fn seen(reply: &Reply) -> Value {
    let account = reply.header("x-meshproxy-explain");
    let mut account: Value = serde_json::from_str(account).unwrap_or_default();
    // A target that nobody serves has no share that could be told.
    let is_shared = account["percent"].as_f64().is_some_and(|it| it < 100.0)
        || account["details"] == "cluster_not_found";
    if is_shared {
        // One of them may have nobody, which shows in what became of it.
        return json!([account["virtualService"], account["rule"]]);
    }
    if let Value::Object(fields) = &mut account {
        fields.retain(|name, _| !CHANCE.contains(&name.as_str()));
    }
    json!({
        "status": reply.status.as_u16(),
        "body": reply.text(),
        "location": reply.header("location"),
        "told": reply.header("x-told"),
        "account": account,
    })
}
