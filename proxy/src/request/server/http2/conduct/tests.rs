//! Floods and honest clients as sequences of frames, with time as a number.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn headers(stream: u32) -> Vec<u8> {
    frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        stream,
        &[0x82],
    )
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn peer() -> (Conduct, Instant) {
    let now = Instant::now();
    let mut conduct = Conduct::new(now);
    conduct.receive(PREFACE, now).expect("a preface");
    (conduct, now)
}

/// How many times `frames` may be repeated at once, up to `most`.
fn repeated(frames: impl Fn(u32) -> Vec<u8>, most: u32) -> (u32, Option<Misconduct>) {
    let (mut conduct, now) = peer();
    for round in 0..most {
        if let Err(misconduct) = conduct.receive(&frames(round * 2 + 1), now) {
            return (round, Some(misconduct));
        }
    }
    (most, None)
}

#[test]
fn every_flood_ends_after_its_burst() {
    let floods: [(Wear, Vec<u8>); 6] = [
        (Wear::Resets, reset(1, 8)),
        (Wear::Settings, frame(kind::SETTINGS, 0, 0, &[])),
        (Wear::Pings, frame(kind::PING, 0, 0, &[0; 8])),
        (Wear::Ignored, frame(0x2, 0, 1, &[0; 5])),
        (Wear::EmptyData, frame(kind::DATA, 0, 1, &[])),
        (
            Wear::Windows,
            frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
    ];
    for (wear, bytes) in floods {
        let budget = wear.budget();
        let (rounds, misconduct) = repeated(|_| bytes.clone(), 10_000);
        assert_eq!(misconduct, Some(Misconduct::Excess(wear)));
        assert_eq!(rounds, budget.burst / budget.cost, "{wear:?}");
    }
}

#[test]
fn requests_that_are_all_reset_end_the_connection_and_half_of_them_do_not() {
    let all = |stream| [headers(stream), reset(stream, 8)].concat();
    let (rounds, misconduct) = repeated(all, 10_000);
    assert_eq!(misconduct, Some(Misconduct::Excess(Wear::Resets)));
    assert!(rounds < 1_100, "{rounds}");

    let half = |stream| [headers(stream), headers(stream + 1), reset(stream, 8)].concat();
    assert_eq!(repeated(half, 10_000).1, None);
}

#[test]
fn padding_alone_is_empty_data_and_an_end_is_not() {
    let padded = |_| frame(kind::DATA, flag::PADDED, 1, &[255; 256]);
    assert_eq!(
        repeated(padded, 1_000).1,
        Some(Misconduct::Excess(Wear::EmptyData))
    );
    let ends = |stream| frame(kind::DATA, flag::END_STREAM, stream, &[]);
    assert_eq!(repeated(ends, 1_000).1, None);
}

#[test]
fn a_header_block_is_bounded_in_frames_and_in_bytes() {
    let (mut conduct, now) = peer();
    let open = frame(kind::HEADERS, 0, 1, &[]);
    let more = frame(kind::CONTINUATION, 0, 1, &[]);
    let end = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]);
    for _ in 0..10 {
        let most = [open.clone(), more.repeat(5), end.clone()].concat();
        conduct
            .receive(&most, now)
            .expect("the most that is allowed");
    }
    let too_many = [open, more.repeat(6)].concat();
    let refused = conduct.receive(&too_many, now);
    assert_eq!(refused, Err(Misconduct::EndlessHeaders));

    let (mut conduct, now) = peer();
    let large = frame(kind::HEADERS, 0, 1, &vec![0; HEAD_BYTES_MAX]);
    conduct.receive(&large, now).expect("the largest");
    let refused = conduct.receive(&frame(kind::CONTINUATION, 4, 1, &[0]), now);
    assert_eq!(refused, Err(Misconduct::EndlessHeaders));
}

#[test]
fn streams_that_we_reset_for_errors_of_the_peer_count_and_others_do_not() {
    let (mut conduct, now) = peer();
    let own = [0, 2, 8, 11].map(|code| reset(1, code)).concat();
    for _ in 0..1_000 {
        conduct.send(&own, now).expect("not the peer's fault");
    }
    let errors = [1, 3, 5, 6, 7].map(|code| reset(1, code)).concat();
    let most = Wear::Errors.budget().burst / 5;
    for _ in 0..most {
        conduct.send(&errors, now).expect("a burst");
    }
    let refused = conduct.send(&errors, now);
    assert_eq!(refused, Err(Misconduct::Excess(Wear::Errors)));
    assert!(conduct.can_send_frame());
}

#[test]
fn budgets_recover_with_time() {
    for wear in Wear::ALL {
        let budget = wear.budget();
        let (mut conduct, mut now) = peer();
        while conduct.wear(wear, now).is_ok() {}
        now += Duration::from_secs(1);
        let again = (0..)
            .take_while(|_| conduct.wear(wear, now).is_ok())
            .count();
        let refilled = (budget.per_second / budget.cost) as usize;
        assert!(
            (refilled - 1..=refilled).contains(&again),
            "{wear:?}: {again}"
        );
    }
}

#[test]
fn a_grpc_client_that_measures_its_bandwidth_is_let_be() {
    let (mut conduct, now) = peer();
    let answer = frame(kind::DATA, 0, 1, &[0; 1_000]);
    let thanks = [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 3, 232]),
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 3, 232]),
    ]
    .concat();
    conduct.receive(&headers(1), now).expect("a request");
    for _ in 0..100_000 {
        conduct.send(&answer, now).expect("an answer");
        conduct.receive(&thanks, now).expect("what goes with it");
    }
    assert_eq!(conduct.data_bytes(), 100_000_000);
}

#[test]
fn the_library_s_farewell_is_seen() {
    let (mut conduct, now) = peer();
    conduct.receive(&headers(7), now).expect("a request");
    assert_eq!((conduct.last_stream(), conduct.farewell()), (7, None));
    let goaway = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]);
    conduct.send(&goaway, now).expect("a farewell");
    assert_eq!(conduct.farewell(), Some(11));
}

/// Bytes that are often frames of known types, and sometimes anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let known = (0_u8..12, any::<u8>(), 0_u32..9, 0_usize..30)
        .prop_map(|(kind, flags, stream, length)| frame(kind, flags, stream, &vec![7; length]));
    let noise = proptest::collection::vec(any::<u8>(), 0..20);
    let piece = prop_oneof![20 => known, 1 => noise];
    proptest::collection::vec(piece, 0..800).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_where_reads_end(
        bytes in bytes(),
        ends in proptest::collection::vec(1_usize..100, 1..50),
    ) {
        let (mut whole, now) = peer();
        let at_once = whole.receive(&bytes, now);
        let (mut parts, mut frames, mut verdict) = (Conduct::new(now), 0, Ok(()));
        parts.receive(PREFACE, now).expect("a preface");
        let (mut rest, mut ends) = (&bytes[..], ends.iter().cycle());
        while !rest.is_empty() && verdict.is_ok() {
            let end = (*ends.next().expect("a cycle")).min(rest.len());
            verdict = parts.receive(&rest[..end], now).map(|seen| frames += seen);
            rest = &rest[end..];
        }
        prop_assert_eq!(at_once, verdict.map(|()| frames));
        prop_assert_eq!(whole.last_stream(), parts.last_stream());
        for (one, other) in whole.levels.iter().zip(&parts.levels) {
            prop_assert_eq!(one.points, other.points);
        }
    }

    #[test]
    fn no_bytes_in_either_direction_harm_the_guard(
        steps in proptest::collection::vec(
            (any::<bool>(), bytes(), 0_u64..5_000), 0..6),
    ) {
        let (mut conduct, mut now) = peer();
        for (received, bytes, ms) in steps {
            now += Duration::from_millis(ms);
            if received {
                let _ = conduct.receive(&bytes, now);
            } else {
                let _ = conduct.send(&bytes, now);
            }
            prop_assert!(conduct.last_stream() <= u32::MAX >> 1);
            prop_assert!(conduct.block_bytes as usize <= HEAD_BYTES_MAX + (1 << 24));
        }
    }
}
