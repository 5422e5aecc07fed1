//! What must hold of the frames that a guard follows, whatever a peer sends.

use std::ops::ControlFlow;

use super::frames::{Frame, Frames};

/// Follows frames at once and in two parts, which must agree.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, rest) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let mut whole = Frames::after(0);
    let mut parts = Frames::after(0);

    let at_once = followed(&mut whole, bytes);
    let mut in_parts = followed(&mut parts, first);
    in_parts.extend(followed(&mut parts, rest));

    assert_eq!(at_once, in_parts);
    assert_eq!(whole.is_between(), parts.is_between());
    for frame in at_once {
        let _ = frame.error_code();
    }
}

fn followed(frames: &mut Frames, bytes: &[u8]) -> Vec<Frame> {
    let mut seen = Vec::new();
    let ended = frames.follow(bytes, |frame| {
        seen.push(frame);
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(ended, ControlFlow::Continue(()));
    seen
}
