use super::*;

#[test]
fn no_more_are_lent_than_there_may_be() {
    let pipes = Pipes::default();
    let lent: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();

    assert!(!lent.is_empty());
    assert!(lent.len() <= LENT_MAX);
    drop(lent);
    assert_eq!(pipes.lent(), 0);
    assert!((1..=KEPT_MAX).contains(&pipes.kept()));
    assert!(pipes.lend().is_some(), "there is room again");
}

#[test]
fn a_pipe_that_holds_bytes_is_not_lent_again() {
    let pipes = Pipes::default();
    let mut lent = pipes.lend().expect("a pipe");
    lent.held = 1;

    drop(lent);

    assert_eq!((pipes.lent(), pipes.kept()), (0, 0));
}
