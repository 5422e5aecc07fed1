//! What is asked of etcd itself, over its JSON gateway.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Http1, full, request};

/// Forgets all history before now.
pub(super) async fn compact(addr: SocketAddr) {
    let key = json!({"key": "AA==", "limit": 1});
    let answer = call(addr, "/v3/kv/range", &key).await;
    let revision = answer["header"]["revision"].clone();
    assert!(revision.is_string(), "etcd says its revision: {answer}");
    let compacted = json!({"revision": revision, "physical": true});
    let answer = call(addr, "/v3/kv/compaction", &compacted).await;
    assert!(answer["header"].is_object(), "etcd compacts: {answer}");
}

async fn call(addr: SocketAddr, path: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    let host = addr.to_string();
    let call = request(Method::POST, &host, path, &headers, full(body.to_string()));
    let reply = Http1::connect(addr).await.send(call).await;
    serde_json::from_slice(&reply.body).expect("etcd answers JSON")
}
