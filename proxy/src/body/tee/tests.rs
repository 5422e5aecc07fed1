use super::*;

use std::task::Waker;

use http::HeaderValue;
use proptest::prelude::*;

/// Frames of the source, ready at once.
fn tee(parts: impl IntoIterator<Item = Bytes>, trailers: bool) -> Tee {
    let mut frames: VecDeque<_> = parts.into_iter().map(Frame::data).collect();
    if trailers {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        frames.push_back(Frame::trailers(trailers));
    }
    Tee::new(Body::Scripted(frames))
}

fn part(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What the request itself reads next; it never waits for a mirror.
fn pass(tee: &mut Tee) -> Option<Frame<Bytes>> {
    match tee.poll_frame(&mut cx()) {
        Poll::Ready(frame) => frame.map(|frame| frame.expect("no error")),
        Poll::Pending => panic!("the request waits"),
    }
}

fn pass_all(tee: &mut Tee) {
    while pass(tee).is_some() {}
}

/// What a mirror reads until it has to wait, or the end.
fn read(body: &mut Body) -> (Vec<u8>, Option<HeaderMap>, Option<BodyError>) {
    let mut whole = Vec::new();
    loop {
        match Pin::new(&mut *body).poll_frame(&mut cx()) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => whole.extend_from_slice(&data),
                Err(trailers) => return (whole, trailers.into_trailers().ok(), None),
            },
            Poll::Ready(Some(Err(error))) => return (whole, None, Some(error)),
            Poll::Ready(None) | Poll::Pending => return (whole, None, None),
        }
    }
}

#[test]
fn every_mirror_reads_the_same_as_the_request_with_its_trailers() {
    let waiting = Rc::<Waiting>::default();
    let mut tee = tee([Bytes::from_static(b"ab"), part(5_000)], true);
    let copies = [tee.copy(&waiting), tee.copy(&waiting)];
    let mut bodies = copies.each_ref().map(Copy::body);

    pass_all(&mut tee);

    for (copy, body) in copies.iter().zip(&mut bodies) {
        assert!(!body.is_end_stream());
        let (bytes, trailers, error) = read(body);
        assert_eq!(bytes, [b"ab".to_vec(), part(5_000).to_vec()].concat());
        assert_eq!(trailers.expect("trailers")["x-sum"], "7");
        assert!(error.is_none() && body.is_end_stream());
        assert_eq!(copy.poll_progress(&cx()), Progress::Complete);
    }
    assert_eq!(waiting.0.get(), 0);
}

#[test]
fn a_mirror_that_takes_nothing_loses_its_copy_alone() {
    const PART: usize = 1024 * 1024;
    let waiting = Rc::<Waiting>::default();
    let mut tee = tee(std::iter::repeat_n(part(PART), 8), false);
    let (slow, quick) = (tee.copy(&waiting), tee.copy(&waiting));
    let (mut slow_body, mut quick_body) = (slow.body(), quick.body());

    let mut taken = 0;
    for _ in 0..8 {
        pass(&mut tee).expect("a part");
        taken += read(&mut quick_body).0.len();
        assert!(waiting.0.get() <= WINDOW_BYTES_MAX);
    }

    assert_eq!(taken, 8 * PART);
    assert_eq!(quick.poll_progress(&cx()), Progress::Complete);
    assert_eq!(slow.poll_progress(&cx()), Progress::Missed(Missed::Window));
    let (bytes, _, error) = read(&mut slow_body);
    assert!(bytes.is_empty() && matches!(error, Some(BodyError::Missed)));
    assert_eq!(waiting.0.get(), 0, "what waited is freed at once");
}

#[test]
fn all_mirrors_of_a_worker_share_a_bound() {
    const PART: usize = 3 * 1024 * 1024;
    let waiting = Rc::<Waiting>::default();
    let mut tees: Vec<_> = (0..12).map(|_| tee([part(PART)], false)).collect();
    let copies: Vec<_> = tees.iter_mut().map(|tee| tee.copy(&waiting)).collect();

    tees.iter_mut().for_each(pass_all);

    let missed = Progress::Missed(Missed::Memory);
    let progress = copies.iter().map(|copy| copy.poll_progress(&cx()));
    assert_eq!(progress.filter(|it| *it == missed).count(), 2);
    assert!(waiting.0.get() <= WORKER_BYTES_MAX);
    drop(copies);
    drop(tees);
    assert_eq!(waiting.0.get(), 0);
}

#[test]
fn what_is_not_read_to_its_end_is_no_whole_copy() {
    let waiting = Rc::<Waiting>::default();
    let mut tee = tee([part(10), part(10)], false);
    let copy = tee.copy(&waiting);
    let mut body = copy.body();
    pass(&mut tee).expect("a part");

    drop(tee);

    assert_eq!(
        copy.poll_progress(&cx()),
        Progress::Missed(Missed::Incomplete)
    );
    assert!(matches!(read(&mut body).2, Some(BodyError::Missed)));
    assert_eq!(waiting.0.get(), 0);
}

#[test]
fn a_mirror_that_went_away_holds_nothing() {
    let waiting = Rc::<Waiting>::default();
    let mut tee = tee([part(10), part(10)], false);
    let copy = tee.copy(&waiting);
    let body = copy.body();
    pass(&mut tee).expect("a part");

    drop(body);
    pass_all(&mut tee);

    assert_eq!(copy.poll_progress(&cx()), Progress::Complete);
    assert_eq!(waiting.0.get(), 0);
}

proptest! {
    #[test]
    fn in_any_order_of_reading_a_copy_is_whole_or_lost(
        parts in prop::collection::vec(1..700_000_usize, 0..20),
        reads in prop::collection::vec(any::<bool>(), 20),
        abandoned in prop::option::of(0..20_usize),
    ) {
        let waiting = Rc::<Waiting>::default();
        let total: usize = parts.iter().sum();
        let mut tee = tee(parts.iter().map(|bytes| part(*bytes)), false);
        let copy = tee.copy(&waiting);
        let mut body = copy.body();
        let mut taken = 0;
        for (at, reads) in reads.iter().enumerate() {
            if abandoned != Some(at) && pass(&mut tee).is_none() {
                break;
            }
            if *reads {
                taken += read(&mut body).0.len();
            }
            prop_assert!(waiting.0.get() <= WINDOW_BYTES_MAX);
        }
        drop(tee);

        let (bytes, _, error) = read(&mut body);

        taken += bytes.len();
        match copy.poll_progress(&cx()) {
            Progress::Complete => prop_assert!(taken == total && error.is_none()),
            Progress::Missed(_) => prop_assert!(error.is_some()),
            Progress::Open => prop_assert!(false, "ended"),
        }
        prop_assert_eq!(waiting.0.get(), 0);
    }
}
