//! What a rule does beside its action: faults and mirrors.

use super::*;

use config::fault::FaultScope;

use crate::table::route::Route;
use crate::table::split::DestinationByPort;

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  annotations:
    meshproxy.io/fault-scope: attempt
    meshproxy.io/fault-reset: '10%; rules=first'
spec:
  hosts: [reviews]
  http:
  - name: first
    match: [{uri: {prefix: /a}, name: block}]
    mirrors:
    - {destination: {host: reviews, subset: v2, port: {number: 9080}}}
    - {destination: {host: nowhere}, percentage: {value: 0.5}}
    - {destination: {host: reviews}, percentage: {value: 0}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /b}}]
    mirror: {host: reviews}
    fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - mirror: {host: reviews}
    directResponse: {status: 204}
";

#[test]
fn mirrors_lead_to_destinations_and_faults_come_from_rule_and_annotations() {
    let compiled = compiled(&[REVIEWS, SUBSETS, RULES]);
    let host = host(only_listener(&compiled), "reviews");
    let routes: Vec<&Route> = host.rules.iter().map(|rule| &*rule.route).collect();
    let [first, second, third] = *routes else {
        panic!("{routes:?}");
    };

    let DestinationByPort::Fixed(id) = first.mirrors[0].destination else {
        panic!("{:?}", first.mirrors);
    };
    let shadow = compiled.destinations.get(id).expect("a destination");
    assert_eq!(
        shadow.key.to_string(),
        "outbound|9080|v2|reviews.default.svc.cluster.local"
    );
    assert_eq!(first.mirrors[1].destination, DestinationByPort::Unknown);
    assert_eq!(first.mirrors.len(), 2, "one gets nothing");
    let fault = first.fault.as_ref().expect("faults");
    assert_eq!(&*first.name, "first.block", "the name of the rule counts");
    assert!(fault.scope == FaultScope::Attempt && fault.reset.is_some());
    let fault = second.fault.as_ref().expect("faults");
    assert!(fault.reset.is_none() && fault.abort.is_some());
    assert!(matches!(
        second.mirrors[0].destination,
        DestinationByPort::Addressed(_)
    ));
    assert!(third.mirrors.is_empty() && third.fault.is_none());
}
