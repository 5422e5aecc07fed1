use crate::iptables::plan::tests::{everything, servers, something_of_each};

use super::*;

#[test]
fn by_default_these_are_the_rules() {
    let plan = Plan::new(&everything(), &[]);

    assert_eq!(replacement(&plan), include_str!("tests/everything.nft"));
}

#[test]
fn every_kind_of_rule_is_written() {
    let plan = Plan::new(&something_of_each(), &servers());

    let expected = include_str!("tests/something_of_each.nft");
    assert_eq!(replacement(&plan), expected);
}

#[test]
fn the_table_is_known_by_its_whole_name() {
    assert!(is_in("table ip nat\ntable inet meshproxy\n"));
    assert!(!is_in("table ip meshproxy\ntable inet meshproxy2\n"));
    assert!(!is_in(""));
}
