//! What happens to a request beside its action: faults and mirrors.

use config::fault::FaultScope;
use serde_json::{Value, json};

use super::leads_to;
use crate::table::fault::Fault;
use crate::table::mirror::Mirror;
use crate::upstream::destination::Destinations;

/// The faults of a rule; those that it does not have are left out.
pub(super) fn fault(fault: &Fault) -> Value {
    let mut value = json!({
        "scope": match fault.scope {
            FaultScope::Request => "request",
            FaultScope::Attempt => "attempt",
        },
    });
    if let Some(delay) = &fault.delay {
        value["delay"] = json!({
            "percent": delay.share.percent(),
            "time": format!("{:?}", delay.time),
        });
    }
    if let Some(abort) = &fault.abort {
        value["abort"] = json!({
            "percent": abort.share.percent(),
            "status": abort.status.http.as_u16(),
            "grpcStatus": abort.status.grpc,
        });
    }
    if let Some(share) = &fault.reset {
        value["reset"] = json!({"percent": share.percent()});
    }
    if let Some(slow) = &fault.slow_body {
        value["slowBody"] = json!({
            "percent": slow.share.percent(),
            "bytesPerSecond": slow.pace.bytes_per_second(),
        });
    }
    value
}

/// Where copies go, and how many.
pub(super) fn mirror(mirror: &Mirror, destinations: &Destinations) -> Value {
    json!({
        "host": &*mirror.host,
        "subset": mirror.subset.as_deref(),
        "percent": mirror.share.percent(),
        "destination": leads_to(&mirror.destination, destinations),
    })
}

#[cfg(test)]
mod tests {
    use config::fault::AnnotatedFaults;
    use config::resource::virtual_service::HttpRoute;

    use super::*;
    use crate::table::split::DestinationByPort;

    #[test]
    fn faults_and_mirrors_are_shown_with_their_shares() {
        let rule: HttpRoute = serde_json::from_value(json!({"fault": {
            "delay": {"fixedDelay": "5s", "percent": 40},
            "abort": {"httpStatus": 500, "percentage": {"value": 0.5}},
        }}))
        .expect("a rule");
        let annotated = AnnotatedFaults {
            scope: FaultScope::Attempt,
            reset: "1%".parse().ok(),
            slow_body: "2%; rate=1KiB/s".parse().ok(),
        };
        let compiled = Fault::compile(&rule, &annotated).expect("faults");
        let shadow = Mirror {
            host: "shadow".into(),
            subset: None,
            port: None,
            destination: DestinationByPort::Unknown,
            share: crate::table::share::Share::ALL,
        };

        assert_eq!(
            fault(&compiled),
            json!({
                "scope": "attempt",
                "delay": {"percent": 40.0, "time": "5s"},
                "abort": {"percent": 0.5, "status": 500, "grpcStatus": null},
                "reset": {"percent": 1.0},
                "slowBody": {"percent": 2.0, "bytesPerSecond": 1_024},
            })
        );
        assert_eq!(
            mirror(&shadow, &Destinations::default()),
            json!({"host": "shadow", "subset": null, "percent": 100.0, "destination": null})
        );
    }
}
