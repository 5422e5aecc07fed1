use super::*;

use proptest::prelude::*;

#[test]
fn a_share_follows_the_requests_and_never_goes_below_its_least() {
    let standard = RetryLimit::Standard;

    assert_eq!(standard.allowed(0), 3);
    assert_eq!(standard.allowed(19), 3);
    assert_eq!(standard.allowed(20), 4);
    assert_eq!(standard.allowed(1_000), 200);
    assert_eq!(standard.allowed(u64::MAX), u32::MAX);
    assert_eq!(RetryLimit::Count(7).allowed(1_000_000), 7);
}

#[test]
fn without_a_written_limit_what_was_not_processed_is_free() {
    let share = RetryLimit::Share(Share::default());

    assert!(!RetryLimit::Standard.counts(Cause::ConnectFailure));
    assert!(RetryLimit::Standard.counts(Cause::ServerError));
    assert!(share.counts(Cause::ConnectFailure));
    assert!(RetryLimit::Count(1).counts(Cause::ResetBeforeResponse));
}

#[test]
fn no_more_than_allowed_are_under_way_over_all_workers() {
    const ALLOWED: u32 = 5;
    let retries = Arc::<Retries>::default();
    let most = AtomicU32::new(0);

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let retrying = retries.begin(ALLOWED);
                    most.fetch_max(retries.active(), Ordering::Relaxed);
                    drop(retrying);
                }
            });
        }
    });

    assert!(most.load(Ordering::Relaxed) <= ALLOWED);
    assert_eq!(retries.active(), 0);
    let held: Vec<_> = (0..8).filter_map(|_| retries.begin(ALLOWED)).collect();
    assert_eq!(held.len(), 5);
    assert!(retries.refused() >= 3);
}

#[test]
fn a_window_forgets_what_is_older_than_its_interval() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let window = Window::new(Duration::from_secs(1), start);

    for millis in [0, 50, 150, 950] {
        window.add(at(millis));
    }

    assert_eq!(window.count(at(999)), 4);
    assert_eq!(window.count(at(1_000)), 2, "the first tenth is forgotten");
    assert_eq!(window.count(at(1_100)), 1);
    assert_eq!(window.count(at(5_000)), 0);
    window.add(at(5_000));
    assert_eq!(window.count(at(5_000)), 1, "an old slot begins anew");
    assert!(window.is_over(Duration::from_secs(1)));
    assert!(!window.is_over(Duration::from_secs(2)));
}

proptest! {
    #[test]
    fn a_budget_is_never_exceeded(
        millionths in 0_u32..=1_000_000,
        retries_min in 1_u32..20,
        steps in proptest::collection::vec((0_u64..500, any::<bool>()), 1..200),
    ) {
        let limit = RetryLimit::Share(Share { millionths, retries_min, interval: None });
        let retries = Arc::<Retries>::default();
        let mut held = Vec::new();
        for (requests, begins) in steps {
            if !begins {
                held.pop();
                continue;
            }
            let allowed = limit.allowed(requests);
            let before = retries.active();
            let begun = retries.begin(allowed);
            prop_assert_eq!(begun.is_some(), before < allowed);
            held.extend(begun);
            prop_assert_eq!(retries.active() as usize, held.len());
            let share = requests * u64::from(millionths) / 1_000_000;
            prop_assert!(allowed == retries_min || u64::from(allowed) <= share);
        }
    }

    #[test]
    fn a_window_counts_what_a_list_would(
        gaps in proptest::collection::vec(0_u64..400, 1..100),
    ) {
        let start = Instant::now();
        let window = Window::new(Duration::from_secs(1), start);
        let mut at = 0;
        let mut times = Vec::new();
        for gap in gaps {
            at += gap;
            times.push(at);
            window.add(start + Duration::from_millis(at));
            let since = (at / 100).saturating_sub(9) * 100;
            let recent = times.iter().filter(|time| **time >= since).count();
            prop_assert_eq!(window.count(start + Duration::from_millis(at)), recent as u64);
        }
    }
}
