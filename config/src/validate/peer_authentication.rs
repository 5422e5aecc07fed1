//! `PeerAuthentication`: for whom it is, and that its ports are ports.

use std::collections::BTreeMap;

use crate::decode::words::quote;
use crate::resource::Metadata;
use crate::resource::peer_authentication::{MutualTls, PeerAuthentication};
use crate::validate::field;
use crate::validate::findings::Findings;
use crate::validate::selector;

/// Checks a `PeerAuthentication`.
pub(crate) fn check(policy: &PeerAuthentication, meta: &Metadata, f: &mut Findings) {
    selector::check(policy.selector.as_ref(), None, &[], meta, f);
    let Some(ports) = &policy.port_level_mtls else {
        return;
    };
    f.field("portLevelMtls", |f| {
        if !policy.has_selector() {
            f.error("must not be set without a selector with labels");
        }
        check_ports(ports, f);
    });
}

fn check_ports(ports: &BTreeMap<String, MutualTls>, f: &mut Findings) {
    if ports.is_empty() {
        f.error("must have at least one port");
    }
    for written in ports.keys() {
        f.key(written, |f| {
            f.require(check_port(written));
        });
    }
}

/// A port as it is written for a number: `080` and `+80` are none.
fn check_port(written: &str) -> Result<(), String> {
    match written.parse() {
        Ok(number) => {
            field::port(number)?;
            match number.to_string() == written {
                true => Ok(()),
                false => Err(format!("must be written as {number}")),
            }
        }
        Err(_) => Err(format!(
            "must be a port number from 1 to 65535, got {}",
            quote(written)
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::validate::tests::assert_reports;

    #[test]
    fn a_policy_for_a_mesh_a_namespace_or_a_workload_is_taken() {
        assert_reports(
            "PeerAuthentication",
            &[
                (json!({}), &[]),
                (json!({"mtls": {}}), &[]),
                (json!({"mtls": {"mode": "UNSET"}}), &[]),
                (json!({"mtls": {"mode": "STRICT"}}), &[]),
                (
                    json!({
                        "selector": {"matchLabels": {"app": "a"}},
                        "portLevelMtls": {"1": {}, "65535": {"mode": "UNSET"}},
                    }),
                    &[],
                ),
            ],
        );
    }

    #[test]
    fn a_selector_without_labels_is_for_all_which_may_surprise() {
        assert_reports(
            "PeerAuthentication",
            &[(
                json!({"selector": {}}),
                &["warning: spec.selector: has no labels, so that it selects every workload"],
            )],
        );
    }

    #[test]
    fn ports_need_a_selector_and_must_be_ports() {
        const ALL: &str = "spec.portLevelMtls: must not be set without a selector with labels";
        let ports =
            |ports| json!({"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": ports});
        assert_reports(
            "PeerAuthentication",
            &[
                (json!({"portLevelMtls": {"80": {"mode": "STRICT"}}}), &[ALL]),
                (
                    json!({"selector": {}, "portLevelMtls": {"80": {"mode": "STRICT"}}}),
                    &[
                        "warning: spec.selector: has no labels, so that it selects every workload",
                        ALL,
                    ],
                ),
                (
                    ports(json!({})),
                    &["spec.portLevelMtls: must have at least one port"],
                ),
                (
                    ports(json!({"0": {}, "65536": {}, "acd": {}, "080": {}, "+80": {}, "": {}})),
                    &[
                        "spec.portLevelMtls[\"\"]: must be a port number from 1 to 65535, got \"\"",
                        "spec.portLevelMtls[\"+80\"]: must be written as 80",
                        "spec.portLevelMtls.0: must be a port number from 1 to 65535, got 0",
                        "spec.portLevelMtls.080: must be written as 80",
                        "spec.portLevelMtls.65536: must be a port number from 1 to 65535, got 65536",
                        "spec.portLevelMtls.acd: must be a port number from 1 to 65535, got \"acd\"",
                    ],
                ),
            ],
        );
    }
}
