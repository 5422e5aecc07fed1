use super::*;

use std::future::poll_fn;

use http::HeaderValue;
use http_body_util::BodyExt as _;
use proptest::prelude::*;

/// What a caller sends, one after the other; never ready again after a `None` part.
fn source(parts: &[&'static str], trailers: bool) -> Body {
    let mut frames: VecDeque<_> = parts
        .iter()
        .map(|part| Frame::data(Bytes::from_static(part.as_bytes())))
        .collect();
    if trailers {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        frames.push_back(Frame::trailers(trailers));
    }
    Body::Scripted(frames)
}

fn recording(source: Body, keep: Keep) -> (Recording, Rc<Kept>) {
    let kept = Rc::<Kept>::default();
    (Recording::new(source, keep, &kept), kept)
}

async fn next(body: &mut Body) -> Option<Frame<Bytes>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.map(|frame| frame.expect("no error"))
}

async fn read(body: Body) -> (Bytes, Option<HeaderMap>) {
    let whole = body.collect().await.expect("no error");
    let trailers = whole.trailers().cloned();
    (whole.to_bytes(), trailers)
}

#[tokio::test]
async fn every_attempt_reads_the_same_with_its_trailers() {
    let (recording, _) = recording(source(&["ab", "cd", "e"], true), Keep::Sent);

    for _ in 0..3 {
        let (bytes, trailers) = read(recording.replay()).await;

        assert_eq!(bytes, "abcde");
        assert_eq!(trailers.expect("trailers")["x-sum"], "7");
    }
    assert_eq!(recording.lost(), None);
}

#[tokio::test]
async fn an_attempt_goes_on_where_an_earlier_one_stopped_asking() {
    let (recording, _) = recording(source(&["ab", "cd"], false), Keep::Sent);
    let mut first = recording.replay();
    next(&mut first).await.expect("a part");

    let second = recording.replay();

    let superseded = poll_fn(|cx| Pin::new(&mut first).poll_frame(cx)).await;
    assert!(matches!(superseded, Some(Err(BodyError::Superseded))));
    assert_eq!(read(second).await.0, "abcd");
}

#[tokio::test]
async fn a_body_that_outgrew_its_bound_passes_but_is_not_sent_again() {
    let piece: &'static str = "x".repeat(400_000).leak();
    let (recording, kept) = recording(source(&[piece; 3], false), Keep::Sent);
    let mut body = recording.replay();
    next(&mut body).await;
    next(&mut body).await;
    assert_eq!(recording.lost(), None);
    assert!(kept.0.get() > 800_000);

    next(&mut body).await;

    assert_eq!(recording.lost(), Some(Lost::TooLarge));
    assert_eq!(kept.0.get(), 0, "what cannot be used is freed");
}

#[tokio::test]
async fn a_worker_keeps_no_more_than_its_share_of_memory() {
    let (recording, kept) = recording(source(&["abc"], false), Keep::Sent);
    kept.0.set(WORKER_BYTES_MAX - PART_BYTES);

    let (bytes, _) = read(recording.replay()).await;

    assert_eq!(bytes, "abc");
    assert_eq!(recording.lost(), Some(Lost::NoRoom));
}

#[tokio::test]
async fn what_was_sent_is_not_kept_where_it_could_not_be_used() {
    let (recording, kept) = recording(source(&["ab", "cd"], false), Keep::Unsent);
    let mut body = recording.replay();
    next(&mut body).await;
    assert_eq!(recording.lost(), None);
    assert_eq!(read(recording.replay()).await.0, "abcd");

    assert_eq!(recording.lost(), Some(Lost::Sent));
    assert_eq!(kept.0.get(), 0);
}

#[tokio::test]
async fn the_last_attempt_frees_what_it_reads() {
    let (recording, kept) = recording(source(&["ab", "cd", "ef"], true), Keep::Sent);
    let mut first = recording.replay();
    next(&mut first).await;
    next(&mut first).await;
    let mut last = recording.replay();
    next(&mut last).await;

    recording.finish();

    assert_eq!(
        kept.0.get(),
        2 + PART_BYTES,
        "the part that is not read yet"
    );
    let (rest, trailers) = read(last).await;
    assert_eq!(rest, "cdef");
    assert!(trailers.is_some());
    assert_eq!(kept.0.get(), 0);
}

#[tokio::test]
async fn the_end_and_the_size_are_known_as_they_were() {
    let (recording, _) = recording(source(&["ab", "cd"], false), Keep::Sent);
    let mut body = recording.replay();
    assert_eq!(body.size_hint().exact(), Some(4));
    next(&mut body).await;
    assert_eq!(body.size_hint().exact(), Some(2));
    assert!(!body.is_end_stream());
    next(&mut body).await;
    assert!(body.is_end_stream());

    let again = recording.replay();

    assert!(!again.is_end_stream());
    assert_eq!(again.size_hint().exact(), Some(4));
}

proptest! {
    #[test]
    fn attempts_read_the_same_wherever_earlier_ones_stopped(
        sizes in proptest::collection::vec(1_usize..50, 0..20),
        stops in proptest::collection::vec(0_usize..25, 0..5),
    ) {
        let text: &'static str = "0123456789".repeat(100).leak();
        let mut at = 0;
        let parts: Vec<&'static str> = sizes
            .iter()
            .map(|size| {
                at += size;
                &text[at - size..at]
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let (recording, kept) = recording(source(&parts, true), Keep::Sent);
            for stop in stops {
                let mut body = recording.replay();
                for _ in 0..stop {
                    next(&mut body).await;
                }
            }
            let (bytes, trailers) = read(recording.replay()).await;
            assert_eq!(bytes, &text.as_bytes()[..at]);
            assert!(trailers.is_some());
            drop(recording);
            assert_eq!(kept.0.get(), 0);
        });
    }
}
