//! Quotas of Mixer, in both ways of writing them.

use super::*;

const REST: &str = "\
---
apiVersion: config.istio.io/v1alpha2
kind: QuotaSpec
metadata: {name: request-count, namespace: istio-system}
spec: {rules: [{quotas: [{charge: 1, quota: requestcount}]}]}
---
apiVersion: config.istio.io/v1alpha2
kind: QuotaSpecBinding
metadata: {name: request-count, namespace: istio-system}
spec:
  quotaSpecs: [{name: request-count, namespace: istio-system}]
  services: [{name: ratings, namespace: default}, {name: productpage, namespace: default}]
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: quota, namespace: istio-system}
spec: {actions: [{handler: handler.memquota, instances: [requestcount.quota]}]}
";

const QUOTAS: &str = "quotas:
    - name: requestcount.quota.istio-system
      maxAmount: 500
      validDuration: 1s
      overrides:
      - {dimensions: {destination: ratings, source: reviews, sourceVersion: v3}, maxAmount: 1, validDuration: 5s}
      - {dimensions: {destination: productpage, source: 10.28.11.20}, maxAmount: 99, validDuration: 1s}
      - {dimensions: {destination: ratings}, maxAmount: 100, validDuration: 1s}
";

const DIMENSIONS: &str = "dimensions:
      source: source.labels[\"app\"] | source.service | \"unknown\"
      sourceVersion: source.labels[\"version\"] | \"unknown\"
      destination: destination.labels[\"app\"] | destination.service | \"unknown\"
";

fn as_kinds() -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: memquota\n\
         metadata: {{name: handler, namespace: istio-system}}\nspec:\n    {QUOTAS}---\n\
         apiVersion: config.istio.io/v1alpha2\nkind: quota\n\
         metadata: {{name: requestcount, namespace: istio-system}}\nspec:\n    {DIMENSIONS}{REST}"
    )
}

fn as_handler_and_instance() -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: handler\n\
         metadata: {{name: quotahandler, namespace: istio-system}}\nspec:\n  compiledAdapter: memquota\n  params:\n    {QUOTAS}---\n\
         apiVersion: config.istio.io/v1alpha2\nkind: instance\n\
         metadata: {{name: requestcount, namespace: istio-system}}\nspec:\n  compiledTemplate: quota\n  params:\n    {DIMENSIONS}{REST}"
    )
}

#[test]
fn each_bound_service_gets_its_limits() {
    for text in [as_kinds(), as_handler_and_instance()] {
        let made = documents(&text);

        assert_eq!(names(&made), ["default/productpage", "default/ratings"]);
        let ratings = value(
            "selector: {matchLabels: {app: ratings}}\n\
             limits:\n\
             - name: requestcount\n\
             \x20 requests: 100\n\
             \x20 per: 1s\n\
             \x20 key: [source.version, source.workload]\n\
             \x20 overrides:\n\
             \x20 - {dimensions: {source.workload: reviews, source.version: v3}, requests: 1, per: 5s}\n",
        );
        assert_eq!(made[1]["spec"], ratings);
        assert_eq!(made[0]["spec"]["limits"][0]["requests"], 500);
        let address = value("{source.workload: 10.28.11.20}");
        assert_eq!(
            made[0]["spec"]["limits"][0]["overrides"][0]["dimensions"],
            address
        );
        assert!(migrated(&text).is_complete());
    }
}

#[test]
fn a_condition_of_the_rule_or_a_foreign_dimension_is_a_loss_and_limits_more() {
    let text = as_kinds()
        .replace(
            "{actions: [{handler",
            "{match: 'match(request.host, \"a\")', actions: [{handler",
        )
        .replace("source.labels[\"version\"] |", "api.version |");

    let lost = losses(&text);

    assert!(
        lost.iter().any(|it| it.contains("dimension sourceVersion")),
        "{lost:?}"
    );
    assert!(
        lost.iter().any(|it| it.contains("match: match(")),
        "{lost:?}"
    );
    assert!(
        lost.iter()
            .any(|it| it.contains("an override by sourceVersion")),
        "{lost:?}"
    );
    assert_eq!(documents(&text).len(), 2);
}

#[test]
fn what_nobody_is_bound_to_limits_nobody_and_is_named() {
    let text = as_kinds();
    let (handler, _) = text.split_once("---\n").expect("several documents");

    assert!(
        migrated(handler)
            .text
            .lines()
            .all(|line| line.starts_with('#'))
    );
    assert!(losses(handler)[0].contains("no QuotaSpecBinding"));
}
