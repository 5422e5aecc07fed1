//! Policies once more with the plainest means: patterns are followed letter by letter, every way at once.

use config::resource::authorization_policy::{AuthorizationRule, Operation, Source};

use super::{TRUST_DOMAINS, World, Written};

/// What a letter of a pattern stands for.
enum Piece {
    Letter(char),
    /// Letters of one segment, at least one.
    Segment,
    /// Any letters, or none.
    Any,
}

/// As [`super::told`] tells it.
pub(super) fn judge(written: &[Written], world: &World<'_>) -> String {
    let first = |denies: bool| {
        let mut own = written.iter().enumerate();
        own.find_map(|(at, policy)| {
            let mut rules = policy.rules.iter();
            let rule = rules.position(|rule| policy.denies == denies && matches(rule, world))?;
            Some(format!("{at}[{rule}]"))
        })
    };
    if let Some(by) = first(true) {
        return format!("deny {by}");
    }
    match first(false) {
        Some(by) => format!("allow {by}"),
        None if written.iter().all(|it| it.denies) => "allow".to_owned(),
        None => "deny none".to_owned(),
    }
}

fn matches(rule: &AuthorizationRule, world: &World<'_>) -> bool {
    let mut from = rule.from.iter().filter_map(|it| it.source.as_ref());
    let mut to = rule.to.iter().filter_map(|it| it.operation.as_ref());
    (rule.from.is_empty() || from.any(|it| source(it, world)))
        && (rule.to.is_empty() || to.any(|it| operation(it, world)))
}

/// Both lists of a field: one of the first, if there are any, and none of the second.
fn both(yes: &[String], no: &[String], is: impl Fn(&str) -> bool) -> bool {
    (yes.is_empty() || yes.iter().any(|it| is(it))) && !no.iter().any(|it| is(it))
}

fn source(it: &Source, world: &World<'_>) -> bool {
    let peer = world.peer.as_ref().map(|it| it.as_str());
    let peer = peer.and_then(|it| it.split_once("://")).map(|it| it.1);
    let parts: Vec<&str> = peer.unwrap_or_default().split('/').collect();
    let (namespace, account) = match parts[..] {
        [_, "ns", namespace, "sa", account] => (Some(namespace), Some(account)),
        _ => (None, None),
    };
    let domain = peer.map(|_| parts[0]);
    let is_principal = |v: &str| {
        let also = match v.split_once('/') {
            Some((domain, rest)) if TRUST_DOMAINS.contains(&domain) => TRUST_DOMAINS
                .map(|domain| format!("{domain}/{rest}"))
                .into(),
            Some(_) | None => Vec::new(),
        };
        peer.is_some_and(|peer| like(v, peer) || also.iter().any(|it| like(it, peer)))
    };
    let is_account = |v: &str| {
        let whole = match v.contains('/') {
            true => v.to_owned(),
            false => format!("default/{v}"),
        };
        let own = namespace.zip(account).map(|(n, a)| format!("{n}/{a}"));
        own == Some(whole)
    };
    let is_namespace = |v: &str| {
        let letters = v.chars().map(|letter| match letter {
            '*' => Piece::Any,
            letter => Piece::Letter(letter),
        });
        let pieces: Vec<Piece> = letters.collect();
        namespace.is_some_and(|it| follow(&pieces, it))
    };
    both(&it.principals, &it.not_principals, is_principal)
        && both(&it.namespaces, &it.not_namespaces, is_namespace)
        && both(&it.service_accounts, &it.not_service_accounts, is_account)
        && both(&it.trust_domains, &it.not_trust_domains, |v| {
            domain.is_some_and(|it| like(v, it))
        })
}

fn operation(it: &Operation, world: &World<'_>) -> bool {
    let path = world.path.split(['?', '#']).next().unwrap_or_default();
    both(&it.methods, &it.not_methods, |v| like(v, world.method))
        && both(&it.hosts, &it.not_hosts, |v| is_host(v, world.host))
        && both(&it.paths, &it.not_paths, |v| is_path(v, path))
}

/// `*` at one end.
fn like(pattern: &str, text: &str) -> bool {
    let mut pieces: Vec<Piece> = pattern.chars().map(Piece::Letter).collect();
    match (pattern, pattern.starts_with('*'), pattern.ends_with('*')) {
        ("*", ..) => return !text.is_empty(),
        (_, true, _) => pieces[0] = Piece::Any,
        (_, false, true) => {
            pieces.pop();
            pieces.push(Piece::Any);
        }
        (_, false, false) => {}
    }
    follow(&pieces, text)
}

/// Hosts are the same in any case, with or without port, and with or without the dot of the root.
fn is_host(pattern: &str, authority: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let pattern = match pattern.strip_suffix('.') {
        Some("") | None => &pattern,
        Some(name) => name,
    };
    let authority = authority.to_ascii_lowercase();
    let end = match authority.starts_with('[') {
        true => authority.find(']').map(|at| at + 1),
        false => authority.rfind(':'),
    };
    let host = &authority[..end.unwrap_or(authority.len())];
    let name = host.strip_suffix('.').unwrap_or(host);
    like(pattern, &authority) || like(pattern, name)
}

fn is_path(pattern: &str, path: &str) -> bool {
    if !pattern.contains("{*}") && !pattern.contains("{**}") {
        return like(pattern, path);
    }
    let mut pieces = Vec::new();
    let mut left = pattern;
    while let Some(letter) = left.chars().next() {
        let (piece, length) = match left {
            _ if left.starts_with("{**}") => (Piece::Any, 4),
            _ if left.starts_with("{*}") => (Piece::Segment, 3),
            _ => (Piece::Letter(letter), letter.len_utf8()),
        };
        pieces.push(piece);
        left = &left[length..];
    }
    follow(&pieces, path)
}

/// Whether a text is like a pattern: which ends of its beginnings can be reached, piece by piece.
fn follow(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pieces {
        let mut next = vec![false; reached.len()];
        for at in 0..text.len() {
            next[at + 1] = match piece {
                Piece::Letter(letter) => reached[at] && text[at] == *letter,
                Piece::Segment => (reached[at] || next[at]) && text[at] != '/',
                Piece::Any => reached[at + 1] || reached[at] || next[at],
            };
        }
        next[0] = matches!(piece, Piece::Any) && reached[0];
        reached = next;
    }
    reached[text.len()]
}
