//! The arithmetic and the words of the report.

use super::*;

fn report(cells: &[(Work, Proxy, Metric, &[f64])]) -> Report {
    let mut report = Report::default();
    for (work, proxy, metric, rounds) in cells {
        for value in *rounds {
            report.add(*work, *proxy, Sample::from([(*metric, *value)]));
        }
    }
    report
}

#[test]
fn the_median_of_an_even_count_lies_between_the_two_in_the_middle() {
    let median = |values: &[f64]| summarise(values.iter().copied()).map(|s| s.median);
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

#[test]
fn ratios_are_taken_within_a_round() {
    // The machine is twice as slow in the last round; the ratio stays.
    let report = report(&[
        (
            Work::Http1,
            Proxy::Meshproxy,
            Metric::Cpu,
            &[5.0, 7.5, 10.0],
        ),
        (
            Work::Http1,
            Proxy::Haproxy,
            Metric::Cpu,
            &[10.0, 10.0, 20.0],
        ),
    ]);

    let checks = report.checks();

    assert_eq!(checks.len(), 1);
    assert_eq!(
        checks[0].summary,
        Summary {
            median: 0.5,
            min: 0.5,
            max: 0.75
        }
    );
    assert!(
        report
            .markdown(&[])
            .contains("| 0.50 (0.50–0.75) | 1.00 | met |")
    );
}

#[test]
fn a_missed_budget_is_marked() {
    let report = report(&[(Work::Idle, Proxy::Meshproxy, Metric::IdleResident, &[10.5])]);
    assert!(report.markdown(&[]).contains("| 10.00 | **missed** |"));
}

#[test]
fn added_latency_is_the_difference_to_no_proxy_and_bound_by_envoys() {
    let report = report(&[
        (Work::Latency, Proxy::Direct, Metric::P99, &[200.0]),
        (Work::Latency, Proxy::Meshproxy, Metric::P99, &[300.0]),
        (Work::Latency, Proxy::Envoy, Metric::P99, &[500.0]),
    ]);

    let text = report.markdown(&[]);

    assert!(text.contains("p99 added by meshproxy, µs | 100.00 (100.00–100.00) | 300.00 | met"));
}
