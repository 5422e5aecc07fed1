//! What is shown of proxies and resources in a terminal.

use std::fmt::Write;

use config::wire::Remark;

use super::{Proxies, Resources};

/// Characters of a message that are shown: the rest is in JSON.
const MESSAGE_CHARS_MAX: usize = 400;

/// Proxies of all replicas, a line for each, and what they say of what they cannot use.
pub(super) fn proxies(replicas: &[Proxies]) -> String {
    let mut rows = vec![
        [
            "PROXY",
            "VERSION",
            "IN USE",
            "LAG",
            "RESOURCES",
            "ENDPOINTS",
            "DEMANDS",
            "REJECTED",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut remarks = String::new();
    let several = replicas.len() > 1;
    if several {
        rows[0].push("REPLICA".to_owned());
    }
    for replica in replicas {
        for proxy in &replica.proxies {
            let mut row = vec![
                plain(&proxy.id),
                plain(&proxy.version),
                progress(proxy.acknowledged, replica.generation),
                lag(proxy.lag_milliseconds),
                proxy.resources.to_string(),
                proxy.endpoints.to_string(),
                proxy.demands.to_string(),
                proxy.report.rejected.len().to_string(),
            ];
            if several {
                row.push(plain(&replica.replica));
            }
            rows.push(row);
            told(
                &mut remarks,
                &proxy.id,
                "cannot use",
                &proxy.report.rejected,
            );
            told(&mut remarks, &proxy.id, "skips of", &proxy.report.skipped);
        }
    }
    if rows.len() == 1 {
        return "no proxy is connected\n".to_owned();
    }
    let mut text = columns(&rows);
    if !remarks.is_empty() {
        text.push('\n');
        text += &remarks;
    }
    text
}

/// Resources that somebody should look at.
pub(super) fn resources(resources: &Resources) -> String {
    let mut text = String::new();
    let total: usize = resources.counts.values().sum();
    let refused = resources.resources.iter().filter(|it| !it.accepted).count();
    let _ = writeln!(text, "{total} resources in use, {refused} refused");
    for resource in resources.resources.iter().filter(|it| it.is_troubled()) {
        let state = match (resource.accepted, &resource.version) {
            (true, _) => "in use",
            (false, Some(_)) => "refused; its last good form is in use",
            (false, None) => "refused",
        };
        let _ = writeln!(text, "\n{}: {state}", plain(&resource.name.to_string()));
        for line in resource.reasons.iter().chain(&resource.conflicts) {
            let _ = writeln!(text, "  {}", plain(line));
        }
        for remark in &resource.rejected {
            let (name, message) = (plain(&remark.name), plain(&remark.message));
            let _ = writeln!(text, "  {name} cannot use it: {message}");
        }
    }
    text
}

fn told(text: &mut String, proxy: &str, what: &str, remarks: &[Remark]) {
    for remark in remarks {
        let (proxy, name, message) = (plain(proxy), plain(&remark.name), plain(&remark.message));
        let _ = writeln!(text, "{proxy} {what} {name}: {message}");
    }
}

/// The generation in use, and how many it is behind.
fn progress(acknowledged: u64, current: u64) -> String {
    match current.saturating_sub(acknowledged) {
        0 => acknowledged.to_string(),
        behind => format!("{acknowledged} (-{behind})"),
    }
}

fn lag(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |it| format!("{it}ms"))
}

/// Text of a proxy, which may say anything, as one harmless line.
fn plain(text: &str) -> String {
    let mut characters = text.chars();
    let shown = characters.by_ref().take(MESSAGE_CHARS_MAX);
    let mut shown: String = shown
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Rows with columns as wide as their widest cell.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use config::wire::{Name, Report};

    use super::*;
    use crate::status::{ProxyStatus, ResourceStatus};

    fn proxy(id: &str) -> ProxyStatus {
        ProxyStatus {
            id: id.into(),
            version: "0.1.0".into(),
            acknowledged: 7,
            resources: 12,
            endpoints: 3,
            ..ProxyStatus::default()
        }
    }

    #[test]
    fn each_proxy_has_a_line_and_what_it_cannot_use_is_below() {
        let message = "spec.http[0].route: must be\na list".to_owned();
        let lagging = ProxyStatus {
            acknowledged: 5,
            lag_milliseconds: Some(1200),
            demands: 2,
            report: Report {
                rejected: vec![Remark {
                    name: "VirtualService/shop/a".into(),
                    message,
                }],
                skipped: Vec::new(),
            },
            ..proxy("b.shop")
        };
        let replica = Proxies {
            replica: "one".into(),
            generation: 7,
            proxies: vec![proxy("a-longer-one.shop"), lagging],
        };

        assert_eq!(
            proxies(&[replica]),
            "\
PROXY               VERSION   IN USE   LAG      RESOURCES   ENDPOINTS   DEMANDS   REJECTED
a-longer-one.shop   0.1.0     7        -        12          3           0         0
b.shop              0.1.0     5 (-2)   1200ms   12          3           2         1

b.shop cannot use VirtualService/shop/a: spec.http[0].route: must be a list
"
        );
    }

    #[test]
    fn with_several_replicas_it_is_said_whose_proxy_each_is() {
        let replica = |name: &str, id: &str| Proxies {
            replica: name.into(),
            generation: 7,
            proxies: vec![proxy(id)],
        };

        let text = proxies(&[replica("one", "a.shop"), replica("two", "b.shop")]);

        let ends: Vec<_> = text.lines().map(|it| it.rsplit(' ').next()).collect();
        assert_eq!(ends, [Some("REPLICA"), Some("one"), Some("two")]);
        assert_eq!(proxies(&[]), "no proxy is connected\n");
    }

    #[test]
    fn a_proxy_cannot_write_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n"), "a [2Jb  ");
        assert_eq!(
            plain(&"x".repeat(500)).chars().count(),
            MESSAGE_CHARS_MAX + 1
        );
    }

    #[test]
    fn only_resources_in_trouble_are_shown_one_by_one() {
        let fine = ResourceStatus {
            name: Name::new("Gateway", "shop", "fine"),
            version: Some("1".into()),
            accepted: true,
            reasons: Vec::new(),
            conflicts: Vec::new(),
            proxies: 1,
            acknowledged: 1,
            rejected: Vec::new(),
        };
        let refused = ResourceStatus {
            name: Name::new("Gateway", "shop", "bad"),
            accepted: false,
            reasons: vec!["a.yaml:3:1: spec.servers: is required".into()],
            ..fine.clone()
        };
        let all = Resources {
            counts: [("Gateway".to_owned(), 2)].into(),
            resources: vec![fine, refused],
            ..Resources::default()
        };

        assert_eq!(
            resources(&all),
            "\
2 resources in use, 1 refused

Gateway/shop/bad: refused; its last good form is in use
  a.yaml:3:1: spec.servers: is required
"
        );
    }
}
