//! Three servers that print what they understood of each request, each behind a proxy of its own, and
//! a corpus of messages on which parsers are known to disagree. Whatever the proxy lets pass must mean
//! the same to all three, or one user's bytes become another user's request.

mod corpus;
mod exchange;
mod judge;

use corpus::{Expected, Message, Whole};
use exchange::Exchange;
use judge::{Judge, Kind, Record};

/// A message at one judge: how the proxy answered, and what arrived.
#[derive(Debug)]
struct Outcome {
    judge: Kind,
    exchange: Exchange,
    records: Vec<Record>,
}

#[tokio::test]
async fn every_ambiguous_message_is_refused_or_understood_alike_by_all() {
    let messages = corpus::all();
    assert!(messages.len() >= 200, "{} messages", messages.len());

    let (node, h11, nginx) = tokio::join!(
        outcomes(Kind::Node, &messages),
        outcomes(Kind::H11, &messages),
        outcomes(Kind::Nginx, &messages),
    );

    let mut faults = Vec::new();
    for (((message, node), h11), nginx) in messages.iter().zip(node).zip(h11).zip(nginx) {
        faults.extend(fault(message, &[node, h11, nginx]));
    }
    let share = format!("{} of {}", faults.len(), messages.len());
    assert!(faults.is_empty(), "{share}:\n{}", faults.join("\n"));
}

/// Sends every message through a proxy to the judge, and after each a request that must get its own
/// answer: what arrives before that one belongs to the message.
async fn outcomes(kind: Kind, messages: &[Message]) -> Vec<Outcome> {
    let mut judge = Judge::start(kind).await;
    let mut outcomes = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let exchange = exchange::send(judge.addr(), &message.bytes).await;
        let target = format!("/marker/{number}");
        let marker =
            format!("GET {target} HTTP/1.1\r\nHost: judge.test\r\nConnection: close\r\n\r\n");
        let answer = exchange::ask(judge.addr(), &marker).await;
        assert!(
            answer.text().contains(&format!("x-judged: {target}\r\n")),
            "{kind:?}: after {:?} another request got a strange answer: {answer:?}",
            message.name,
        );
        let records = judge.records_before(&target).await;
        outcomes.push(Outcome {
            judge: kind,
            exchange,
            records,
        });
    }
    let panics = judge.proxy_panics().await;
    assert_eq!(panics, 0.0, "{kind:?}: connections that panicked");
    outcomes
}

/// What is wrong with what became of `message`, if anything.
fn fault(message: &Message, outcomes: &[Outcome]) -> Option<String> {
    let right = match &message.expected {
        Expected::Refused(statuses) => outcomes.iter().all(|outcome| {
            let status = outcome.exchange.status();
            outcome.refused_rightly() && status.is_some_and(|status| statuses.contains(&status))
        }),
        Expected::Broken => outcomes.iter().all(Outcome::broke_off),
        Expected::Alike => {
            let all_took = !outcomes.iter().any(Outcome::was_refused);
            alike(outcomes) && all_took || outcomes.iter().all(Outcome::broke_off)
        }
        Expected::Tolerated => alike(outcomes),
        Expected::Understood(read) => outcomes.iter().all(|outcome| {
            let statuses = outcome.exchange.statuses();
            let answered = statuses.len() == read.len() && statuses.iter().all(|s| *s == 200);
            answered && outcome.wholes() == *read
        }),
    };
    let in_time = outcomes.iter().all(|outcome| outcome.exchange.ended);
    if right && in_time {
        return None;
    }
    let mut text = format!("{}: expected {:?}", message.name, message.expected);
    for outcome in outcomes {
        text += &format!("\n    {outcome}");
    }
    Some(text)
}

/// Whether nobody read another request than the others; whoever refused one did not read it.
fn alike(outcomes: &[Outcome]) -> bool {
    let all = outcomes.iter().map(Outcome::requests);
    let Some(most) = all.max_by_key(Vec::len) else {
        return true;
    };
    outcomes.iter().all(|outcome| {
        let read = outcome.requests();
        let mut rest = most.iter();
        let in_order = read
            .iter()
            .all(|request| rest.any(|other| other == request));
        in_order && (read.len() == most.len() || outcome.was_refused())
    })
}

// === impl Outcome ===

impl Outcome {
    fn wholes(&self) -> Vec<Whole> {
        let requests = self.requests();
        requests.into_iter().map(|(whole, _)| whole).collect()
    }

    /// Requests with their hosts.
    fn requests(&self) -> Vec<(Whole, String)> {
        let read = |record: &Record| match record {
            Record::Request { whole, host } => Some((whole.clone(), host.clone())),
            Record::Refused { .. } => None,
        };
        self.records.iter().filter_map(read).collect()
    }

    /// Whether nothing arrived of the request under test. The proxy may close, or go on if it knows
    /// where the request ends; then the next one arrives as it was sent.
    fn refused_rightly(&self) -> bool {
        let wholes = self.wholes();
        let next_is_right = match wholes.as_slice() {
            [] => true,
            [next] => *next == Whole::after(),
            _ => false,
        };
        next_is_right && !self.was_refused()
    }

    /// Whether the proxy refused it, before or after it began to send it on, and nobody took it whole.
    fn broke_off(&self) -> bool {
        let status = self.exchange.status();
        self.wholes().is_empty() && status.is_none_or(|status| status >= 400)
    }

    /// Whether the judge refused something.
    fn was_refused(&self) -> bool {
        let refusal = |record: &Record| matches!(record, Record::Refused { .. });
        self.records.iter().any(refusal)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {:?}", self.judge, self.exchange.statuses())?;
        if !self.exchange.ended {
            write!(f, " and then nothing, with the connection open")?;
        }
        for record in &self.records {
            match record {
                Record::Request { whole, host } => write!(f, "; {whole} at {host:?}")?,
                Record::Refused { reason } => write!(f, "; refused: {reason}")?,
            }
        }
        Ok(())
    }
}
