//! Faults, rate limits and mirrors for people.

use std::io::{self, Write};

use super::{fact, subset};
use crate::explain::decision::beside::{Abort, CountedBy, Faults, Mirror, RateLimit, Scope, Value};

/// What the rule injects, in order.
pub(super) fn faults(out: &mut impl Write, faults: Option<&Faults>) -> io::Result<()> {
    let Some(Faults {
        scope,
        delay,
        abort,
        reset,
        slow_body,
        always,
    }) = faults
    else {
        return Ok(());
    };
    let of = match scope {
        Scope::Request => "requests",
        Scope::Attempt => "attempts",
    };
    let lines = [
        delay
            .as_ref()
            .map(|it| format!("{} % of {of} wait {}", it.percent, it.time)),
        abort
            .as_ref()
            .map(|it| format!("{} % of {of} get {}", it.percent, status(it))),
        reset.as_ref().map(|it| {
            let percent = it.percent;
            format!("{percent} % of {of} are reset, also where an error is drawn")
        }),
        slow_body.as_ref().map(|it| {
            let (percent, pace) = (it.percent, it.bytes_per_second);
            format!("{percent} % of {of} get a body of {pace} bytes a second")
        }),
        always.as_ref().map(|_| match scope {
            Scope::Request => "no request comes through to what follows".to_owned(),
            Scope::Attempt => "no attempt comes through to an endpoint".to_owned(),
        }),
    ];
    for (at, line) in lines.iter().flatten().enumerate() {
        fact(out, if at == 0 { "faults" } else { "" }, line)?;
    }
    Ok(())
}

fn status(abort: &Abort) -> String {
    let grpc = abort.grpc_status;
    let grpc = grpc.map_or_else(String::new, |it| format!(" (grpc-status {it})"));
    format!("{}{grpc}", abort.status)
}

/// The limits that count the request.
pub(super) fn rate_limits(out: &mut impl Write, limits: &[RateLimit]) -> io::Result<()> {
    for (at, limit) in limits.iter().enumerate() {
        let RateLimit {
            policy,
            limit,
            requests,
            per,
            burst,
            counted_by,
            key,
            overridden,
        } = limit;
        let by = match counted_by {
            CountedBy::Proxy => "",
            CountedBy::Service => ", counted by a service",
        };
        let text = format!("{policy} {limit}: {requests} in {per}, {burst} at once{by}");
        fact(out, if at == 0 { "limits" } else { "" }, text)?;
        if !key.is_empty() {
            fact(out, "", format_args!("    for {}", values(key)))?;
        }
        if let Some(conditions) = overridden {
            let conditions = values(conditions);
            fact(
                out,
                "",
                format_args!("    by the override for {conditions}"),
            )?;
        }
    }
    Ok(())
}

fn values(values: &[Value]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|it| format!("{}={}", it.name, it.value))
        .collect();
    values.join(", ")
}

/// Who gets copies.
pub(super) fn mirrors(out: &mut impl Write, mirrors: &[Mirror]) -> io::Result<()> {
    for mirror in mirrors {
        let subset = subset(mirror.subset.as_deref());
        let problem = match mirror.destination {
            Some(_) => "",
            None => ": there is none, and no copy is sent",
        };
        let (percent, host) = (mirror.percent, &mirror.host);
        fact(
            out,
            "mirror",
            format_args!("{percent} % {host}{subset}{problem}"),
        )?;
    }
    Ok(())
}
