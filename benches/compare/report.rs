//! Medians, ratios and budgets, as Markdown tables and as JSON.
//!
//! Ratios are taken within a round, where both sides ran seconds apart, and then the median over
//! the rounds: the machine's drift cancels out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::work::Work;

/// Something measured in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// CPU time of the proxy per request, in µs.
    Cpu,
    /// CPU time of the proxy per GiB, in seconds.
    CpuOfBytes,
    /// Requests per second.
    Rate,
    /// GiB per second.
    ByteRate,
    /// Median latency, in µs.
    P50,
    /// 99th percentile of the latency, in µs.
    P99,
    /// Resident memory before the first request, in MiB.
    IdleResident,
    /// The part of it that no file backs, in MiB.
    IdleAnonymous,
    /// Resident memory under the load, in MiB.
    LoadResident,
    /// The part of it that no file backs, in MiB.
    LoadAnonymous,
    /// Memory per connection that rests, in KiB.
    RestingConnection,
}

/// What one proxy did in one round of one work.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// CPU of meshproxy per request as a part of a peer's; the last field is the bound of the design, where
/// it sets one.
const CPU_RATIOS: [(Work, Proxy, Option<f64>); 21] = [
    (Work::Http1, Proxy::Haproxy, Some(1.0)),
    (Work::Http1, Proxy::Envoy, Some(0.5)),
    (Work::Http1Rules, Proxy::Haproxy, None),
    (Work::Http1Rules, Proxy::Envoy, None),
    (Work::Connection, Proxy::Haproxy, Some(1.0)),
    (Work::Connection, Proxy::Envoy, None),
    (Work::Http2ToHttp1, Proxy::Haproxy, None),
    (Work::Http2ToHttp1, Proxy::Envoy, Some(0.6)),
    (Work::Http2ToHttp1, Proxy::Nghttpx, None),
    (Work::Http2ToHttp2, Proxy::Haproxy, None),
    (Work::Http2ToHttp2, Proxy::Envoy, Some(0.6)),
    (Work::Http2ToHttp2, Proxy::Nghttpx, None),
    (Work::Grpc, Proxy::Haproxy, None),
    (Work::Grpc, Proxy::Envoy, Some(0.6)),
    (Work::Grpc, Proxy::Nghttpx, None),
    (Work::Hop, Proxy::Haproxy, Some(0.9)),
    (Work::Hop, Proxy::Envoy, None),
    (Work::Handshake, Proxy::Haproxy, Some(1.0)),
    (Work::Handshake, Proxy::Envoy, None),
    (Work::Latency, Proxy::Haproxy, None),
    (Work::Latency, Proxy::Envoy, None),
];

/// All samples; every list is in the order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: BTreeMap<(Work, Proxy), Vec<Sample>>,
}

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

/// A comparison that the design sets a bound for.
#[derive(Debug)]
struct Check {
    what: String,
    summary: Summary,
    bound: Option<f64>,
}

// === impl Metric ===

impl Metric {
    fn heading(self) -> &'static str {
        match self {
            Metric::Cpu => "CPU µs/request",
            Metric::CpuOfBytes => "CPU s/GiB",
            Metric::Rate => "requests/s",
            Metric::ByteRate => "GiB/s",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::IdleResident => "idle RSS MiB",
            Metric::IdleAnonymous => "idle anon MiB",
            Metric::LoadResident => "load RSS MiB",
            Metric::LoadAnonymous => "load anon MiB",
            Metric::RestingConnection => "KiB/connection",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Metric::Cpu => "cpu_us_per_request",
            Metric::CpuOfBytes => "cpu_s_per_gib",
            Metric::Rate => "requests_per_second",
            Metric::ByteRate => "gib_per_second",
            Metric::P50 => "p50_us",
            Metric::P99 => "p99_us",
            Metric::IdleResident => "idle_rss_mib",
            Metric::IdleAnonymous => "idle_rss_anon_mib",
            Metric::LoadResident => "load_rss_mib",
            Metric::LoadAnonymous => "load_rss_anon_mib",
            Metric::RestingConnection => "resting_kib_per_connection",
        }
    }

    fn decimals(self) -> usize {
        match self {
            Metric::CpuOfBytes => 3,
            Metric::Cpu | Metric::ByteRate | Metric::RestingConnection => 2,
            Metric::Rate | Metric::P50 | Metric::P99 => 0,
            Metric::IdleResident
            | Metric::IdleAnonymous
            | Metric::LoadResident
            | Metric::LoadAnonymous => 1,
        }
    }
}

// === impl Report ===

impl Report {
    /// Adds the sample of a round.
    pub(crate) fn add(&mut self, work: Work, proxy: Proxy, sample: Sample) {
        self.samples.entry((work, proxy)).or_default().push(sample);
    }

    /// Tables for people, in Markdown; `header` says where and with what they were measured.
    pub(crate) fn markdown(&self, header: &[String]) -> String {
        let mut text = String::new();
        for line in header {
            let _ = writeln!(text, "- {line}");
        }
        let mut works: Vec<Work> = self.samples.keys().map(|(work, _)| *work).collect();
        works.dedup();
        for work in works {
            self.table(work, &mut text);
        }
        let checks = self.checks();
        if !checks.is_empty() {
            text += "\n| compared | median (min–max) | at most | |\n|---|---|---|---|\n";
        }
        for Check {
            what,
            summary,
            bound,
        } in checks
        {
            let verdict = match bound {
                Some(bound) if summary.median <= bound => "met",
                Some(_) => "**missed**",
                None => "",
            };
            let bound = bound.map(|bound| format!("{bound:.2}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "| {what} | {} | {bound} | {verdict} |",
                summary.text(2)
            );
        }
        text
    }

    /// Everything for programs: each sample, and the medians of all comparisons.
    pub(crate) fn json(&self, header: &[String]) -> Value {
        let summary = |s: Summary| json!({"median": s.median, "min": s.min, "max": s.max});
        let samples: Vec<Value> = self
            .samples
            .iter()
            .map(|((work, proxy), rounds)| {
                let rounds: Vec<BTreeMap<&str, f64>> = rounds
                    .iter()
                    .map(|sample| {
                        sample
                            .iter()
                            .map(|(metric, n)| (metric.key(), *n))
                            .collect()
                    })
                    .collect();
                json!({"work": work.name(), "proxy": proxy.name(), "rounds": rounds})
            })
            .collect();
        let checks: Vec<Value> = self
            .checks()
            .into_iter()
            .map(|check| {
                let value = summary(check.summary);
                json!({"compared": check.what, "value": value, "at_most": check.bound})
            })
            .collect();
        json!({"header": header, "samples": samples, "compared": checks})
    }

    fn table(&self, work: Work, text: &mut String) {
        let rows: Vec<_> = self
            .samples
            .iter()
            .filter(|((of, _), _)| *of == work)
            .collect();
        let mut metrics: Vec<Metric> = rows
            .iter()
            .flat_map(|(_, rounds)| rounds.iter().flat_map(|s| s.keys()))
            .copied()
            .collect();
        metrics.sort_unstable();
        metrics.dedup();
        let _ = write!(text, "\n| {} |", work.name());
        for metric in &metrics {
            let _ = write!(text, " {} |", metric.heading());
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(metrics.len()));
        for ((_, proxy), rounds) in rows {
            let _ = write!(text, "| {} |", proxy.name());
            for metric in &metrics {
                let values = rounds
                    .iter()
                    .filter_map(|sample| sample.get(metric).copied());
                let cell = summarise(values).map(|summary| summary.text(metric.decimals()));
                let _ = write!(text, " {} |", cell.unwrap_or_else(|| "–".to_owned()));
            }
            text.push('\n');
        }
    }

    fn checks(&self) -> Vec<Check> {
        use Proxy::{Envoy, Haproxy, Meshproxy, Nginx};
        let mut checks = Vec::new();
        let mut push = |what: String, summary: Option<Summary>, bound| {
            checks.extend(summary.map(|summary| Check {
                what,
                summary,
                bound,
            }));
        };
        for (work, peer, bound) in CPU_RATIOS {
            let ratio = self.rounds((work, Meshproxy), (work, peer), Metric::Cpu, |a, b| a / b);
            let (work, peer) = (work.name(), peer.name());
            push(format!("{work}: CPU, meshproxy / {peer}"), ratio, bound);
        }
        for proxy in [Meshproxy, Haproxy, Nginx, Envoy] {
            let bound = (proxy == Meshproxy).then_some(1.1);
            let (many, one) = ((Work::Http1Rules, proxy), (Work::Http1, proxy));
            let ratio = self.rounds(many, one, Metric::Cpu, |a, b| a / b);
            push(
                format!("CPU of {}, 100 rules / one rule", proxy.name()),
                ratio,
                bound,
            );
        }
        let guarded = ((Work::Http1Guarded, Meshproxy), (Work::Http1, Meshproxy));
        let ratio = self.rounds(guarded.0, guarded.1, Metric::Cpu, |a, b| a / b);
        push(
            "CPU of meshproxy, guarded / plain".to_owned(),
            ratio,
            Some(1.25),
        );
        let added = |proxy| {
            let direct = (Work::Latency, Proxy::Direct);
            self.rounds((Work::Latency, proxy), direct, Metric::P99, |a, b| a - b)
        };
        let envoys = added(Envoy).map(|summary| summary.median);
        for proxy in [Meshproxy, Haproxy, Nginx, Envoy] {
            let bound = envoys.filter(|_| proxy == Meshproxy);
            push(
                format!("p99 added by {}, µs", proxy.name()),
                added(proxy),
                bound,
            );
        }
        let own = |work, metric| {
            let rounds = self.samples.get(&(work, Meshproxy))?;
            summarise(
                rounds
                    .iter()
                    .filter_map(|sample| sample.get(&metric).copied()),
            )
        };
        let (idle, load) = (Metric::IdleResident, Metric::LoadResident);
        push(
            "meshproxy idle, MiB".to_owned(),
            own(Work::Idle, idle),
            Some(10.0),
        );
        push(
            "meshproxy under http1, MiB".to_owned(),
            own(Work::Http1, load),
            Some(16.0),
        );
        checks.extend(self.checks_of_tcp());
        checks
    }

    fn checks_of_tcp(&self) -> Vec<Check> {
        use Proxy::{Envoy, Haproxy, Meshproxy};
        let own = (Work::Tcp, Meshproxy);
        let against = |(peer, bound): (Proxy, Option<f64>)| {
            let cpu = Metric::CpuOfBytes;
            let summary = self.rounds(own, (Work::Tcp, peer), cpu, |a, b| a / b)?;
            Some(Check {
                what: format!("tcp: CPU, meshproxy / {}", peer.name()),
                summary,
                bound,
            })
        };
        let peers = [(Haproxy, None), (Envoy, Some(0.8))];
        let rounds = self.samples.get(&(Work::TcpIdle, Meshproxy));
        let each = rounds.into_iter().flatten();
        let each = each.filter_map(|sample| sample.get(&Metric::RestingConnection));
        let resting = summarise(each.copied()).map(|summary| Check {
            what: "meshproxy per connection that rests, KiB".to_owned(),
            summary,
            bound: Some(8.0),
        });
        peers
            .into_iter()
            .filter_map(against)
            .chain(resting)
            .collect()
    }

    /// `relate` applied to the two sides of every round.
    fn rounds(
        &self,
        left: (Work, Proxy),
        right: (Work, Proxy),
        metric: Metric,
        relate: impl Fn(f64, f64) -> f64,
    ) -> Option<Summary> {
        let pairs = self
            .samples
            .get(&left)?
            .iter()
            .zip(self.samples.get(&right)?);
        summarise(pairs.filter_map(|(a, b)| Some(relate(*a.get(&metric)?, *b.get(&metric)?))))
    }
}

// === impl Summary ===

impl Summary {
    fn text(self, decimals: usize) -> String {
        let Summary { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

fn summarise(values: impl Iterator<Item = f64>) -> Option<Summary> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        (values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0
    } else {
        *values.get(middle)?
    };
    Some(Summary {
        median,
        min: *values.first()?,
        max: *values.last()?,
    })
}

#[cfg(test)]
mod tests;
