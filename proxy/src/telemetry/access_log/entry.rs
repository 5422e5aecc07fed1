//! What the log says of one request, and its two forms.

use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::telemetry::access_log::text::{Bare, Quoted, Text};
use crate::telemetry::access_log::time::Rfc3339;
use crate::telemetry::flags::Flags;

/// Room for a line of usual length.
const LINE_BYTES: usize = 640;

/// One request. What is empty or none is shown as `-` in text and as null in JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Entry<'a> {
    /// When its first byte came.
    #[serde(serialize_with = "start_time")]
    pub start_time: SystemTime,
    /// Method.
    pub method: Text<'a>,
    /// Path and query as the downstream sent them.
    pub path: Text<'a>,
    /// Protocol of the downstream, such as `HTTP/1.1`.
    pub protocol: Text<'a>,
    /// Status that the downstream got; 0 if it got none.
    pub response_code: u16,
    /// Why the answer is not simply what the upstream said.
    pub response_flags: Flags,
    /// Who decided the status and why, such as `via_upstream`.
    pub response_code_details: Text<'a>,
    /// Why the downstream's connection was closed.
    pub connection_termination_details: Text<'a>,
    /// Why there was no connection to the upstream.
    pub upstream_transport_failure_reason: Text<'a>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// From the first byte of the request to the last of the response; in whole milliseconds.
    #[serde(serialize_with = "whole_millis")]
    pub duration: Duration,
    /// From sending the request to the head of the upstream's response; in whole milliseconds.
    #[serde(serialize_with = "service_time")]
    pub upstream_service_time: Option<Duration>,
    /// Header `x-forwarded-for` as it was sent on.
    pub x_forwarded_for: Text<'a>,
    /// Header `user-agent`.
    pub user_agent: Text<'a>,
    /// Header `x-request-id`.
    pub request_id: Text<'a>,
    /// Authority as the downstream sent it.
    pub authority: Text<'a>,
    /// Address of the last endpoint that was tried.
    pub upstream_host: Text<'a>,
    /// Destination in the form `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub upstream_cluster: Text<'a>,
    /// Own address of the connection to the upstream.
    pub upstream_local_address: Option<SocketAddr>,
    /// Own address of the connection from the downstream.
    pub downstream_local_address: Option<SocketAddr>,
    /// The downstream's address.
    pub downstream_remote_address: Option<SocketAddr>,
    /// Name that the downstream asked for in TLS.
    pub requested_server_name: Text<'a>,
    /// Name of the rule, or `default`.
    pub route_name: Text<'a>,
    /// Identity that the downstream proved. From here on only in JSON.
    pub downstream_peer_uri_san: Text<'a>,
    /// Identity that the upstream proved.
    pub upstream_peer_uri_san: Text<'a>,
    /// `namespace/name` of the `VirtualService`.
    pub virtual_service: Text<'a>,
    /// Position of the rule in it.
    pub rule: Option<u32>,
    /// `namespace/name` of the `DestinationRule`.
    pub destination_rule: Text<'a>,
    /// Subset of the destination.
    pub subset: Text<'a>,
    /// How often it was sent; 0 if it never was.
    pub attempts: u32,
    /// Why there was no other attempt where the rule allows one, such as `budget`.
    pub retry_refused: Text<'a>,
    /// `namespace/policy/limit` of the rate limit that refused it.
    pub rate_limit: Text<'a>,
    /// `namespace/name[rule]` of the `AuthorizationPolicy` that let it pass.
    pub authorization_policy: Text<'a>,
    /// The same of those that record it, with commas between.
    pub audit_policies: Text<'a>,
    /// What would become of it by policies that are only tried, such as `would_deny default/p[0]`.
    pub dry_run: Text<'a>,
}

// === impl Entry ===

impl<'a> Entry<'a> {
    /// A request that began at `start_time`, of which nothing else is known.
    pub fn at(start_time: SystemTime) -> Self {
        let none = Text::default();
        Self {
            start_time,
            method: none,
            path: none,
            protocol: none,
            response_code: 0,
            response_flags: Flags::NONE,
            response_code_details: none,
            connection_termination_details: none,
            upstream_transport_failure_reason: none,
            bytes_received: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_service_time: None,
            x_forwarded_for: none,
            user_agent: none,
            request_id: none,
            authority: none,
            upstream_host: none,
            upstream_cluster: none,
            upstream_local_address: None,
            downstream_local_address: None,
            downstream_remote_address: None,
            requested_server_name: none,
            route_name: none,
            downstream_peer_uri_san: none,
            upstream_peer_uri_san: none,
            virtual_service: none,
            rule: None,
            destination_rule: none,
            subset: none,
            attempts: 0,
            retry_refused: none,
            rate_limit: none,
            authorization_policy: none,
            audit_policies: none,
            dry_run: none,
        }
    }

    /// The line in Istio's default text format, without its end.
    pub fn text(&self) -> String {
        let mut line = String::with_capacity(LINE_BYTES);
        let written = self.write_text(&mut line);
        debug_assert!(written.is_ok(), "a string takes everything");
        line
    }

    /// The line as a JSON object, without its end.
    pub fn json(&self) -> String {
        // Writing numbers and strings to memory cannot fail.
        let json = serde_json::to_string(self);
        debug_assert!(json.is_ok());
        json.unwrap_or_default()
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        write!(
            out,
            "[{}] \"{} {} {}\" {} {} {} {} \"{}\" {} {} {} {} ",
            Rfc3339(self.start_time),
            // Parts of the request line: inside quotes, and apart from each other by a space.
            Bare(self.method),
            Bare(self.path),
            Bare(self.protocol),
            self.response_code,
            self.response_flags,
            Bare(self.response_code_details),
            Bare(self.connection_termination_details),
            Quoted(self.upstream_transport_failure_reason),
            self.bytes_received,
            self.bytes_sent,
            self.duration.as_millis(),
            OrDash(self.upstream_service_time.map(|time| time.as_millis())),
        )?;
        write!(
            out,
            "\"{}\" \"{}\" \"{}\" \"{}\" \"{}\" {} {} {} {} {} {}",
            Quoted(self.x_forwarded_for),
            Quoted(self.user_agent),
            Quoted(self.request_id),
            Quoted(self.authority),
            Quoted(self.upstream_host),
            Bare(self.upstream_cluster),
            OrDash(self.upstream_local_address),
            OrDash(self.downstream_local_address),
            OrDash(self.downstream_remote_address),
            Bare(self.requested_server_name),
            Bare(self.route_name),
        )
    }
}

/// A value, or `-` if there is none.
struct OrDash<T>(Option<T>);

impl<T: Display> Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

fn start_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    Rfc3339(*time).serialize(serializer)
}

fn whole_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A string, because Istio's JSON has here the text of a header.
fn service_time<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&time.as_millis()),
        None => serializer.serialize_none(),
    }
}
