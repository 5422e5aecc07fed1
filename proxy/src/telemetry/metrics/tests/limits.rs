//! How many series there may be, and for how long.

use super::*;

#[test]
fn what_has_no_place_goes_to_one_series_per_reporter() {
    let metrics = Metrics::new(identity(), 2);
    let (worker, now) = (metrics.worker(), Instant::now());
    let inbound = metrics.intern(Reporter::Destination, Traffic::unknown());

    for code in 200..210 {
        worker.record(TrafficId::UNKNOWN, with_code(code), Sample::default());
        worker.record(TrafficId::UNKNOWN, with_code(code), Sample::default());
    }
    worker.record(inbound, OK, Sample::default());

    assert_eq!(
        totals(&metrics, now),
        ["200: 2", "201: 2", "overflow: 16", "overflow: 1"]
    );
    assert_eq!(
        value(&metrics, now, "meshproxy_metrics_overflow_total"),
        "17"
    );
    assert_eq!(value(&metrics, now, "meshproxy_metrics_series"), "2");
    let text = requests_text(&metrics, now);
    let (_, first) = text
        .split_once("istio_requests_total{reporter=\"source\",source_workload=\"o")
        .expect("an overflow series of the source");
    let labels = first.split_once('}').expect("ends").0;
    assert_eq!(
        labels.matches("=\"overflow\"").count(),
        22,
        "all but reporter and the first"
    );
}

#[test]
fn an_idle_series_leaves_and_comes_back_from_zero() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let (worker, start) = (metrics.worker(), Instant::now());
    let second = Duration::from_secs(1);
    worker.record(TrafficId::UNKNOWN, OK, Sample::default());

    assert_eq!(totals(&metrics, start), ["200: 1"]);
    assert_eq!(totals(&metrics, start + SERIES_IDLE - second), ["200: 1"]);
    assert_eq!(
        totals(&metrics, start + SERIES_IDLE),
        ["200: 1"],
        "is told to leave"
    );
    assert_eq!(requests_text(&metrics, start + SERIES_IDLE + second), "");
    assert_eq!(
        value(
            &metrics,
            start + SERIES_IDLE + second,
            "meshproxy_metrics_series"
        ),
        "0"
    );

    worker.record(TrafficId::UNKNOWN, OK, Sample::default());
    assert_eq!(
        totals(&metrics, start + SERIES_IDLE + 2 * second),
        ["200: 1"]
    );
}

#[test]
fn a_series_that_is_used_while_it_leaves_stays() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let (worker, start) = (metrics.worker(), Instant::now());
    let second = Duration::from_secs(1);
    worker.record(TrafficId::UNKNOWN, OK, Sample::default());
    totals(&metrics, start);
    totals(&metrics, start + SERIES_IDLE);

    worker.record(TrafficId::UNKNOWN, OK, Sample::default());

    assert_eq!(totals(&metrics, start + SERIES_IDLE + second), ["200: 2"]);
    assert_eq!(totals(&metrics, start + SERIES_IDLE * 2), ["200: 2"]);
}

#[test]
fn an_idle_worker_stays_in_the_sum_of_a_busy_one() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let (idle, busy, start) = (metrics.worker(), metrics.worker(), Instant::now());
    idle.record(TrafficId::UNKNOWN, OK, Sample::default());

    for (minutes, expected) in [
        (0, "200: 2"),
        (10, "200: 3"),
        (20, "200: 4"),
        (30, "200: 5"),
    ] {
        busy.record(TrafficId::UNKNOWN, OK, Sample::default());
        assert_eq!(
            totals(&metrics, start + Duration::from_secs(minutes * 60)),
            [expected]
        );
    }
}

#[test]
fn a_place_that_became_free_is_used_again() {
    let metrics = Metrics::new(identity(), 1);
    let (worker, start) = (metrics.worker(), Instant::now());
    let second = Duration::from_secs(1);
    worker.record(TrafficId::UNKNOWN, with_code(200), Sample::default());
    worker.record(TrafficId::UNKNOWN, with_code(503), Sample::default());
    assert_eq!(totals(&metrics, start), ["200: 1", "overflow: 1"]);
    metrics.text(start + SERIES_IDLE);
    assert_eq!(
        totals(&metrics, start + SERIES_IDLE + second),
        ["overflow: 1"]
    );

    worker.record(TrafficId::UNKNOWN, with_code(503), Sample::default());

    let now = start + SERIES_IDLE + 2 * second;
    assert_eq!(totals(&metrics, now), ["503: 1", "overflow: 1"]);
}

#[test]
fn an_upstream_that_makes_up_codes_loses_no_request() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let worker = metrics.worker();

    for code in (100..1_000).chain(100..1_000) {
        worker.record(TrafficId::UNKNOWN, with_code(code), Sample::default());
    }

    let totals = totals(&metrics, Instant::now());
    assert_eq!(totals.len(), 900);
    assert!(totals.iter().all(|line| line.ends_with(": 2")));
}

#[test]
fn too_many_label_sets_are_recorded_as_overflow() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let worker = metrics.worker();

    worker.record(TrafficId::OVERFLOW_SOURCE, OK, Sample::default());
    worker.record(
        TrafficId::OVERFLOW_SOURCE,
        with_code(503),
        Sample::default(),
    );

    assert_eq!(totals(&metrics, Instant::now()), ["overflow: 2"]);
}

#[test]
fn pieces_are_the_whole_text() {
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let worker = metrics.worker();
    for code in 200..220 {
        worker.record(TrafficId::UNKNOWN, with_code(code), Sample::default());
    }
    let now = Instant::now();

    let pieces: Vec<String> = metrics.scrape(now).collect();

    assert!(pieces.len() > 10, "{}", pieces.len());
    assert!(
        pieces
            .iter()
            .all(|piece| piece.ends_with('\n') && piece.len() < 128 << 10)
    );
    let whole = pieces.concat();
    assert_eq!(
        whole.matches("# TYPE istio_").count(),
        5,
        "four families and istio_build"
    );
    assert_eq!(whole.matches("istio_response_bytes_count{").count(), 20);
}
