use config::wire::{Name, Remark};
use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-02-03T04:05:06Z";
const EARLIER: &str = "2026-01-01T00:00:00Z";

fn good() -> ResourceStatus {
    ResourceStatus {
        name: Name::new("VirtualService", "shop", "reviews"),
        version: Some("1".into()),
        accepted: true,
        reasons: Vec::new(),
        conflicts: Vec::new(),
        proxies: 3,
        acknowledged: 3,
        rejected: Vec::new(),
    }
}

/// Each condition as `Type=status reason: message`.
fn told(status: &ResourceStatus) -> [String; 3] {
    wanted(status).map(|it| {
        let kind = it.kind.text();
        format!(
            "{kind}={} {}: {}",
            super::status(&it),
            it.reason,
            it.message
        )
    })
}

#[test]
fn a_resource_that_all_proxies_use_is_accepted_and_programmed() {
    assert_eq!(
        told(&good()),
        [
            "Accepted=True Valid: ",
            "Conflicted=False None: ",
            "Programmed=True InUse: 3 of 3 proxies of this replica"
        ]
    );
}

#[test]
fn a_refused_resource_says_why_and_that_its_last_good_form_stays() {
    let reasons = vec!["spec.hosts: must have a host".to_owned()];
    let refused = ResourceStatus {
        accepted: false,
        reasons,
        ..good()
    };

    assert_eq!(
        told(&refused),
        [
            "Accepted=False Invalid: its last valid form stays in use\nspec.hosts: must have a host",
            "Conflicted=False None: ",
            "Programmed=False Invalid: 3 of 3 proxies of this replica"
        ]
    );
    let never = ResourceStatus {
        version: None,
        proxies: 0,
        acknowledged: 0,
        ..refused
    };
    assert_eq!(
        told(&never)[0],
        "Accepted=False Invalid: spec.hosts: must have a host"
    );
}

#[test]
fn who_goes_first_and_who_cannot_use_it_are_named() {
    let status = ResourceStatus {
        conflicts: vec!["spec.hosts[0]: ignored in the mesh: VirtualService a/b has it".into()],
        acknowledged: 2,
        rejected: vec![Remark {
            name: "old.shop".into(),
            message: "spec.http[0].route: must be a list".into(),
        }],
        ..good()
    };

    assert_eq!(
        told(&status)[1..],
        [
            "Conflicted=True OtherGoesFirst: spec.hosts[0]: ignored in the mesh: VirtualService a/b \
             has it",
            "Programmed=False Rejected: 2 of 3 proxies of this replica; cannot be used by\nold.shop: \
             spec.http[0].route: must be a list"
        ]
    );
}

#[test]
fn what_is_on_its_way_is_pending_and_what_nobody_needs_is_no_trouble() {
    let pending = ResourceStatus {
        acknowledged: 1,
        ..good()
    };
    let idle = ResourceStatus {
        proxies: 0,
        acknowledged: 0,
        ..good()
    };

    assert_eq!(
        told(&pending)[2],
        "Programmed=False Pending: 1 of 3 proxies of this replica"
    );
    assert_eq!(
        told(&idle)[2],
        "Programmed=True NotNeededHere: no proxy of this replica needs it"
    );
}

#[test]
fn conditions_are_written_once_and_keep_those_of_others() {
    let theirs = json!({"type": "Reconciled", "status": "True", "reason": "Other"});
    let wanted = wanted(&good());

    let first = merged(std::slice::from_ref(&theirs), &wanted, 4, EARLIER).expect("ours are new");

    assert_eq!(first[0], theirs);
    assert_eq!(first.len(), 4);
    assert_eq!(
        first[1],
        json!({"type": "Accepted", "status": "True", "reason": "Valid", "message": "",
            "observedGeneration": 4, "lastTransitionTime": EARLIER})
    );
    assert_eq!(merged(&first, &wanted, 4, NOW), None);
}

#[test]
fn the_time_changes_only_where_a_condition_turns() {
    let first = merged(&[], &wanted(&good()), 4, EARLIER).expect("new");
    let pending = ResourceStatus {
        acknowledged: 1,
        ..good()
    };

    let second = merged(&first, &wanted(&pending), 5, NOW).expect("changed");

    let times = second.iter().map(|it| &it["lastTransitionTime"]);
    assert_eq!(times.collect::<Vec<_>>(), [EARLIER, EARLIER, NOW]);
    assert!(second.iter().all(|it| it["observedGeneration"] == 5));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let status = ResourceStatus {
        conflicts: vec!["ü".repeat(2 * MESSAGE_CHARS_MAX)],
        ..good()
    };

    let [_, conflicted, _] = wanted(&status);

    assert_eq!(conflicted.message.chars().count(), MESSAGE_CHARS_MAX + 1);
    assert!(conflicted.message.ends_with("ü…"));
}

proptest! {
    /// Whatever is there, what was merged needs no second write.
    #[test]
    fn what_was_written_is_not_written_again(
        accepted: bool,
        acknowledged in 0..4_usize,
        types in proptest::collection::vec("Accepted|Programmed|Other|", 0..5),
    ) {
        let present: Vec<Value> = types.iter().map(|it| json!({"type": it, "status": "True"})).collect();
        let status = ResourceStatus { accepted, acknowledged, ..good() };
        let wanted = wanted(&status);

        let list = merged(&present, &wanted, 1, EARLIER).expect("no generation was observed yet");

        prop_assert_eq!(merged(&list, &wanted, 1, NOW), None);
    }
}
