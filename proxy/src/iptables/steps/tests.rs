use crate::iptables::host::Iptables;
use crate::iptables::plan::tests::everything;

use super::*;

fn host() -> Host {
    let programs = |kept: Kept, family: Family| {
        let name = format!("/{kept:?}-{family:?}").to_lowercase();
        let programs = Iptables {
            restore: format!("{name}-restore").into(),
            save: format!("{name}-save").into(),
        };
        ((kept, family), programs)
    };
    let all = Kept::ALL.map(|kept| Family::ALL.map(|family| programs(kept, family)));
    Host {
        nft: Some("/nft".into()),
        iptables: all.into_iter().flatten().collect(),
        ip: Some("/ip".into()),
        families: Family::ALL.into(),
        uses_ipv6: true,
        has_own_address: false,
    }
}

/// What is there, by what `iptables-save` prints for each kind of iptables.
fn seen(nft: bool, by_nft: &str, legacy: &str) -> Seen {
    let saved = |kept: Kept, text: &str| {
        let families = Family::ALL.map(|family| (family, Saved::read(text)));
        (kept, Ok(families.into()))
    };
    Seen {
        nft: Ok(nft),
        iptables: [saved(Kept::Nft, by_nft), saved(Kept::Legacy, legacy)].into(),
    }
}

fn missing(program: &str) -> Unusable {
    Unusable::Missing(program.to_owned())
}

/// What was installed for everything, as `iptables-save` shows it.
fn installed() -> String {
    let plan = Plan::new(&everything(), &[]);
    restore::replacement(&plan, &Saved::default(), Family::V4)
}

fn calls(steps: &[Step]) -> Vec<String> {
    let calls = steps.iter().map(|step| step.call.to_string());
    calls.collect()
}

const FOREIGN: &str = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n";
const ADD: &str = "/ip -6 addr add ::6/128 dev lo";
const DEL: &str = "/ip -6 addr del ::6/128 dev lo";

#[test]
fn the_backend_is_that_which_is_in_use() {
    let plan = Plan::new(&everything(), &[]);
    let installed = installed();
    for (wanted, seen, expected) in [
        (Backend::Auto, seen(false, "", ""), "nft"),
        (Backend::Auto, seen(false, FOREIGN, ""), "nft"),
        (Backend::Auto, seen(false, "", FOREIGN), "iptables-legacy"),
        (
            Backend::Auto,
            seen(false, "", &installed),
            "iptables-legacy",
        ),
        (Backend::Nft, seen(false, "", FOREIGN), "nft"),
        (
            Backend::IptablesNft,
            seen(false, "", FOREIGN),
            "iptables-nft",
        ),
        (
            Backend::IptablesLegacy,
            seen(true, "", ""),
            "iptables-legacy",
        ),
    ] {
        let chosen = install(&plan, wanted, &host(), &seen);

        let (backend, _) = chosen.expect("a backend");
        assert_eq!(backend.to_string(), expected, "{wanted:?} {seen:?}");
    }
}

#[test]
fn who_has_no_backend_is_told_why() {
    let plan = Plan::new(&everything(), &[]);
    let mut seen = seen(false, "", "");
    seen.nft = Err(missing("nft"));

    let (backend, _) = install(&plan, Backend::Auto, &host(), &seen).expect("another backend");
    assert_eq!(backend, Used::Iptables(Kept::Nft));
    let error = install(&plan, Backend::Nft, &host(), &seen).expect_err("it was asked for");
    assert_eq!(error.to_string(), "nft is not installed");
    for kept in Kept::ALL {
        seen.iptables
            .insert(kept, Err(missing(&format!("{kept:?}"))));
    }
    let error = install(&plan, Backend::Auto, &host(), &seen).expect_err("there is none");
    let expected = "nft is not installed; Nft is not installed; Legacy is not installed";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn each_backend_is_run_for_each_family() {
    let plan = Plan::new(&everything(), &[]);
    let nothing = seen(false, "", "");
    let run = |wanted| {
        let (_, steps) = install(&plan, wanted, &host(), &nothing).expect("a backend");
        calls(&steps)
    };

    assert_eq!(run(Backend::Nft), [ADD, "/nft -f -"]);
    let expected = [
        ADD,
        "/nft-v4-restore --noflush --wait=10",
        "/nft-v6-restore --noflush --wait=10",
    ];
    assert_eq!(run(Backend::IptablesNft), expected);
    let expected = [
        ADD,
        "/legacy-v4-restore --noflush --wait=10",
        "/legacy-v6-restore --noflush --wait=10",
    ];
    assert_eq!(run(Backend::IptablesLegacy), expected);
}

#[test]
fn without_ipv6_nothing_is_done_about_it() {
    let plan = Plan::new(&everything(), &[]);
    let host = Host {
        families: vec![Family::V4],
        uses_ipv6: false,
        ip: None,
        ..host()
    };

    let steps = install(&plan, Backend::IptablesLegacy, &host, &seen(false, "", ""));

    let (_, steps) = steps.expect("a backend");
    assert_eq!(calls(&steps), ["/legacy-v4-restore --noflush --wait=10"]);
}

#[test]
fn what_another_backend_installed_goes_when_the_new_rules_are_there() {
    let plan = Plan::new(&everything(), &[]);
    let before = seen(false, "", &installed());

    let steps = install(&plan, Backend::Nft, &host(), &before);

    let (_, steps) = steps.expect("a backend");
    let expected = [
        ADD,
        "/nft -f -",
        "/legacy-v4-restore --noflush --wait=10",
        "/legacy-v6-restore --noflush --wait=10",
    ];
    assert_eq!(calls(&steps), expected);
    assert!(steps[2].input.contains("-X MESHPROXY_LEAVING"));
}

#[test]
fn clean_removes_what_is_there_and_nothing_else() {
    let host = Host {
        has_own_address: true,
        ..host()
    };

    let clean = |seen: &Seen| clean(&host, seen).expect("one of them tells");
    let none = clean(&seen(false, FOREIGN, FOREIGN));
    let by_nft = clean(&seen(true, FOREIGN, ""));

    assert!(none.is_empty(), "{none:?}");
    assert_eq!(calls(&by_nft), ["/nft -f -", DEL]);
    assert_eq!(by_nft[0].input, "delete table inet meshproxy\n");
}

#[test]
fn clean_does_not_claim_what_it_cannot_see() {
    let mut seen = seen(false, "", "");
    seen.nft = Err(missing("nft"));
    seen.iptables
        .insert(Kept::Nft, Err(missing("iptables-nft")));
    assert!(clean(&host(), &seen).is_ok());

    seen.iptables
        .insert(Kept::Legacy, Err(missing("iptables-legacy")));

    let error = clean(&host(), &seen).expect_err("nobody can tell");
    assert!(
        error
            .to_string()
            .contains("iptables-legacy is not installed")
    );
}

#[test]
fn a_step_can_be_pasted_into_a_shell() {
    let step = |input: &str| Step {
        call: Call {
            program: "/nft".into(),
            arguments: vec!["-f", "-"],
        },
        input: input.to_owned(),
    };

    assert_eq!(step("").for_a_shell(), "/nft -f -\n");
    let expected = "/nft -f - <<'END'\nadd table x\nEND\n";
    assert_eq!(step("add table x\n").for_a_shell(), expected);
}
