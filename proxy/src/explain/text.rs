//! A decision for people: one column of names, one of facts.

mod authorization;
mod beside;
pub(super) mod connection;
mod destination;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use super::decision::{
    Answer, Caller, Decision, Edit, Failure, Forward, Outcome, Retries, StickyKey, Taken, Target,
    Tried,
};
use destination::destination;

/// Room for the names of facts.
const NAMES: usize = 11;
/// Room for the names of facts about a target.
const INNER_NAMES: usize = 13;

/// Prints a decision.
pub(super) fn print(out: &mut impl Write, decision: &Decision) -> io::Result<()> {
    let Decision {
        request,
        caller,
        listener,
        host,
        ..
    } = decision;
    fact(
        out,
        "request",
        format_args!("{} {}", request.method, request.url),
    )?;
    fact(out, "caller", self::caller(caller))?;
    fact(
        out,
        "listener",
        format_args!("{} ({})", listener.address, listener.name),
    )?;
    if let Some(told) = &decision.authorization {
        authorization::authorization(out, told)?;
    }
    if let Some(host) = host {
        match (&host.served_by, host.port) {
            (Some(name), Some(port)) => fact(out, "host", format_args!("{name}, port {port}"))?,
            _ => fact(out, "host", &host.authority)?,
        }
    }
    rules(out, decision)?;
    writeln!(out)?;
    beside::faults(out, decision.faults.as_ref())?;
    beside::rate_limits(out, &decision.rate_limits)?;
    match &decision.outcome {
        Outcome::Refused(failure) => fact(out, "action", format_args!("refuse: {}", told(failure))),
        Outcome::Answered(answer) => answered(out, answer),
        Outcome::Forwarded(forward) => forwarded(out, forward),
    }
}

fn fact(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "{name:NAMES$}{value}")
}

fn inner(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "{:NAMES$}{name:INNER_NAMES$}{value}", "")
}

/// Who asks; what is as it is by default is left out.
fn caller(caller: &Caller) -> String {
    let Caller {
        namespace,
        labels,
        service_account,
        locality,
        address,
    } = caller;
    let from = match labels.is_empty() {
        true => "no labels".to_owned(),
        false => pairs(labels),
    };
    let mut told = format!("{from}, namespace {namespace}");
    let account = (service_account != "default").then(|| format!("account {service_account}"));
    for more in [&account, locality, address].into_iter().flatten() {
        told.push_str(", ");
        told.push_str(more);
    }
    told
}

/// `, value`, or nothing.
fn then(value: Option<&str>) -> String {
    value.map_or_else(String::new, |it| format!(", {it}"))
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}

fn rules(out: &mut impl Write, decision: &Decision) -> io::Result<()> {
    for (at, tried) in decision.rules.iter().enumerate() {
        let name = if at == 0 { "rules" } else { "" };
        let mark = if tried.matched { '>' } else { '-' };
        fact(out, name, format_args!("{mark} {}", tried.rule))?;
        if let Some(text) = mismatch(tried) {
            fact(out, "", format_args!("    {text}"))?;
        }
    }
    match decision.rules_not_tried {
        0 => Ok(()),
        more => fact(out, "", format_args!("  {more} more not tried")),
    }
}

fn mismatch(tried: &Tried) -> Option<String> {
    let mismatch = tried.mismatch.as_ref()?;
    Some(match &mismatch.found {
        Some(found) => format!("wants {}; has {found}", mismatch.wanted),
        None => format!("wants {}; has none", mismatch.wanted),
    })
}

fn told(failure: &Failure) -> String {
    let Failure {
        status,
        flags,
        error,
        reason,
    } = failure;
    format!("{status} {flags} {error}: {reason}")
}

fn answered(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let kind = match answer.kind {
        "redirect" => "redirect",
        "cors_response" => "answer a CORS preflight",
        _ => "answer",
    };
    let bytes = match answer.body_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} bytes"),
    };
    fact(
        out,
        "action",
        format_args!("{kind}: {}{bytes}", answer.status),
    )?;
    for (name, value) in &answer.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        fact(out, "", format_args!("{name}: {value}"))?;
    }
    Ok(())
}

fn forwarded(out: &mut impl Write, forward: &Forward) -> io::Result<()> {
    fact(out, "action", "forward")?;
    fact(out, "timeout", forward.timeout.as_deref().unwrap_or("none"))?;
    retries(out, &forward.retries)?;
    if let Some(sticky) = &forward.sticky {
        let key = key(sticky.key, sticky.cookie.as_deref());
        fact(out, "sticky by", format_args!("{}: {key}", sticky.by))?;
    }
    beside::mirrors(out, &forward.mirrors)?;
    for target in &forward.targets {
        self::target(out, target)?;
    }
    Ok(())
}

/// What becomes of the key of something sticky.
fn key(key: StickyKey, cookie: Option<&str>) -> String {
    match (key, cookie) {
        (StickyKey::Present, _) => "the request has it, and it decides".to_owned(),
        (StickyKey::Made, None) => "the request has none and gets one".to_owned(),
        (StickyKey::Made, Some(cookie)) => format!("the request has none and gets {cookie}"),
        (StickyKey::Absent, _) => "the request has none and is drawn".to_owned(),
    }
}

fn retries(out: &mut impl Write, retries: &Retries) -> io::Result<()> {
    if retries.attempts == 0 {
        return fact(out, "retries", "none");
    }
    let limit = retries.per_try_timeout.as_deref();
    let limit = limit.map_or_else(String::new, |it| format!(", {it} per attempt"));
    let again = if retries.idempotent {
        ""
    } else {
        ", not idempotent"
    };
    fact(
        out,
        "retries",
        format_args!("up to {}{limit}{again}", retries.attempts),
    )?;
    for on in &retries.on {
        fact(out, "", format_args!("{}: {}", on.condition, on.meaning))?;
    }
    Ok(())
}

fn target(out: &mut impl Write, target: &Target) -> io::Result<()> {
    let subset = subset(target.subset.as_deref());
    let taken = match target.taken {
        Taken::Always => ", this request",
        Taken::Drawn => "",
        Taken::Never => ", not this request",
    };
    writeln!(out)?;
    fact(
        out,
        "target",
        format_args!("{} % {}{subset}{taken}", target.percent, target.host),
    )?;
    if let Some(failure) = &target.failure {
        inner(out, "fails", told(failure))?;
    }
    if let Some(destination) = &target.destination {
        self::destination(out, destination)?;
    }
    if let Some(sent) = &target.sent {
        inner(
            out,
            "sent",
            format_args!("{} to {}", sent.path, sent.authority),
        )?;
    }
    edits(out, "request", &target.request_edits)?;
    edits(out, "response", &target.response_edits)
}

/// `, subset NAME`, or nothing.
fn subset(name: Option<&str>) -> String {
    name.map_or_else(String::new, |it| format!(", subset {it}"))
}

fn edits(out: &mut impl Write, name: &str, edits: &[Edit]) -> io::Result<()> {
    for edit in edits {
        let value = edit.value.as_deref();
        let value = value.map_or_else(String::new, |it| format!(": {it}"));
        inner(
            out,
            name,
            format_args!("{} {}{value}", edit.change, edit.name),
        )?;
    }
    Ok(())
}
