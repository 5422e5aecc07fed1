use super::*;

use config::resource::virtual_service::HttpFaultInjection;
use proptest::prelude::*;

fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

fn delay(percentage: Option<Percent>, percent: Option<i32>) -> FaultDelay {
    FaultDelay {
        percent,
        percentage,
        fixed_delay: "5s".parse().ok(),
        exponential_delay: None,
    }
}

fn rule(delay: Option<FaultDelay>, abort: Option<FaultAbort>) -> HttpRoute {
    HttpRoute {
        name: Some("buy".to_owned()),
        fault: Some(HttpFaultInjection { delay, abort }),
        ..HttpRoute::default()
    }
}

fn annotated(reset: &str, slow_body: &str) -> AnnotatedFaults {
    AnnotatedFaults {
        scope: FaultScope::Request,
        reset: reset.parse().ok(),
        slow_body: slow_body.parse().ok(),
    }
}

fn compiled(rule: &HttpRoute) -> Option<Fault> {
    Fault::compile(rule, &AnnotatedFaults::default())
}

#[test]
fn without_a_share_nobody_is_met() {
    for (percentage, percent, share) in [
        (None, None, None),
        (percent(0.0), Some(40), None),
        (None, Some(40), percent(40.0)),
        (percent(0.0001), Some(40), percent(0.0001)),
        (percent(100.0), None, percent(100.0)),
    ] {
        let fault = compiled(&rule(Some(delay(percentage, percent)), None));

        let delay = fault.and_then(|fault| fault.delay);
        let expected = share.and_then(Share::of);
        assert_eq!(delay.map(|delay| delay.share), expected, "{percentage:?}");
    }
}

#[test]
fn a_status_of_grpc_is_no_error_to_others() {
    let abort = |http_status, grpc_status: Option<&str>| FaultAbort {
        http_status,
        grpc_status: grpc_status.map(str::to_owned),
        percentage: percent(100.0),
        ..FaultAbort::default()
    };
    let status = |abort| {
        let fault = compiled(&rule(None, Some(abort)))?;
        fault
            .abort
            .map(|abort| (abort.status.http.as_u16(), abort.status.grpc))
    };

    assert_eq!(status(abort(Some(418), None)), Some((418, None)));
    assert_eq!(
        status(abort(None, Some("UNAVAILABLE"))),
        Some((200, Some(14)))
    );
    assert_eq!(status(abort(None, None)), None);
}

#[test]
fn annotations_add_faults_to_the_rules_that_they_name() {
    let plain = HttpRoute {
        name: Some("buy".to_owned()),
        ..HttpRoute::default()
    };
    let compile = |reset, slow| Fault::compile(&plain, &annotated(reset, slow));

    let everywhere = compile("10%", "1%; rate=7B/s").expect("faults");
    assert_eq!(everywhere.reset.map(Share::percent), Some(10.0));
    let pace = everywhere
        .slow_body
        .map(|slow| slow.pace.bytes_per_second());
    assert_eq!(pace, Some(7));
    assert!(compile("10%; rules=buy", "").is_some());
    assert!(compile("10%; rules=sell", "1%; rate=1B/s; rules=sell").is_none());
    assert!(compile("0%", "").is_none());
}

#[test]
fn each_fault_is_drawn_by_itself() {
    let mut rule = rule(Some(delay(percent(50.0), None)), None);
    rule.fault.as_mut().expect("faults").abort = Some(FaultAbort {
        http_status: Some(500),
        percentage: percent(50.0),
        ..FaultAbort::default()
    });
    let fault = Fault::compile(&rule, &annotated("50%", "50%; rate=1B/s")).expect("faults");
    let mut rng = fastrand::Rng::with_seed(5);
    let mut seen = std::collections::BTreeMap::<_, u32>::new();

    for _ in 0..100_000 {
        let drawn = fault.draw(|| rng.u64(..));
        let end = match drawn.end {
            None => "none",
            Some(End::Abort(_)) => "abort",
            Some(End::Reset) => "reset",
        };
        *seen
            .entry((drawn.delay.is_some(), end, drawn.pace.is_some()))
            .or_default() += 1;
    }

    // A quarter of the ends are none, a quarter are aborts, and a reset hides the aborts behind it.
    assert_eq!(seen.len(), 12);
    for ((_, end, _), count) in seen {
        let expected = if end == "reset" { 12_500 } else { 6_250 };
        assert!(count.abs_diff(expected) < 700, "{end}: {count}");
    }
}

proptest! {
    #[test]
    fn a_body_takes_the_time_of_its_bytes(rate in 1..1_u64 << 30, bytes in 0..1_usize << 24) {
        let pace = Pace::new(NonZeroU64::new(rate).expect("not 0"));
        let piece = pace.piece(bytes);

        prop_assert!(piece <= bytes && (piece > 0 || bytes == 0));
        prop_assert!(pace.time(piece) <= Duration::from_secs(1));
        let seconds = bytes as f64 / rate as f64;
        prop_assert!((pace.time(bytes).as_secs_f64() - seconds).abs() < 1e-6);
    }
}
