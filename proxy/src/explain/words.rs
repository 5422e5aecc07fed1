//! Policies in words.

use config::annotation::{HealthCheck, Probe};
use config::resource::destination_rule::{ClientTls, ClientTlsMode};

use crate::upstream::outlier::{Detection, ErrorCodes, LocalFailures};

/// What takes an endpoint out and for how long.
pub(super) fn detection(rules: &Detection) -> String {
    let mut causes = Vec::new();
    if rules.errors > 0 {
        let kind = match &rules.codes {
            ErrorCodes::ServerErrors => "5xx".to_owned(),
            ErrorCodes::Listed(codes) => {
                let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
                codes.join(", ")
            }
        };
        causes.push(format!("{} errors ({kind})", rules.errors));
    }
    if rules.gateway_errors > 0 {
        let times = rules.gateway_errors;
        causes.push(format!("{times} gateway errors (502, 503, 504)"));
    }
    if let LocalFailures::Apart(times @ 1..) = rules.local_failures {
        causes.push(format!("{times} failures without an answer"));
    }
    let streaks = match causes.is_empty() {
        true => None,
        false => Some(format!("{} in a row", causes.join(" or "))),
    };
    let compared = rules.success_rate.map(|comparison| {
        let stdev = f64::from(comparison.stdev_thousandths) / 1_000.0;
        format!("{stdev} deviations fewer successes than the others")
    });
    let causes: Vec<String> = streaks.into_iter().chain(compared).collect();
    match causes.is_empty() {
        true => "never out".to_owned(),
        false => format!(
            "out for {:?} after {}; at most {} % of endpoints",
            rules.base,
            causes.join(", or "),
            rules.ejected_percent_max
        ),
    }
}

/// How a rule has endpoints spoken to below HTTP.
pub(super) fn tls(tls: &ClientTls) -> String {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mode = tls.mode.unwrap_or(ClientTlsMode::Disable);
    let mut words = match mode {
        ClientTlsMode::Disable => return "none: plain text".to_owned(),
        ClientTlsMode::Simple => "SIMPLE".to_owned(),
        ClientTlsMode::Mutual => match written(&tls.client_certificate) {
            Some(file) => format!("MUTUAL with {file}"),
            None => "MUTUAL".to_owned(),
        },
        ClientTlsMode::IstioMutual => "ISTIO_MUTUAL".to_owned(),
    };
    if let Some(name) = written(&tls.sni) {
        words += &format!(", asks for {name}");
    }
    match (mode, tls.insecure_skip_verify) {
        (ClientTlsMode::Simple | ClientTlsMode::Mutual, Some(true)) => words += ", believes anyone",
        (_, _) if tls.subject_alt_names.is_empty() => {}
        (_, _) => words += &format!(", believes {}", tls.subject_alt_names.join(" or ")),
    }
    if written(&tls.credential_name).is_some() {
        words += "; shut, as credentialName has no source";
    }
    words
}

/// What is asked of an endpoint, how often, and what follows.
pub(super) fn check(check: &HealthCheck) -> String {
    let HealthCheck {
        probe,
        interval,
        timeout,
        unhealthy,
        healthy,
        port,
    } = check;
    let asked = match probe {
        Probe::Tcp => "a connection".to_owned(),
        Probe::Http { path, statuses } => {
            format!("GET {path} with {}-{}", statuses.start(), statuses.end())
        }
        Probe::Grpc { service } if service.is_empty() => "gRPC SERVING".to_owned(),
        Probe::Grpc { service } => format!("gRPC {service} SERVING"),
    };
    let port = port.map_or_else(String::new, |port| format!(" at port {port}"));
    format!(
        "{asked}{port} within {timeout} every {interval}; \
         out after {unhealthy} failures in a row, back after {healthy} successes"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::upstream::outlier::Comparison;

    #[test]
    fn what_a_rule_says_of_tls_is_told_in_a_line() {
        for (written, told) in [
            (json!({"mode": "DISABLE"}), "none: plain text"),
            (json!({"mode": "SIMPLE"}), "SIMPLE"),
            (
                json!({"mode": "SIMPLE", "sni": "a.test", "insecureSkipVerify": true}),
                "SIMPLE, asks for a.test, believes anyone",
            ),
            (
                json!({"mode": "MUTUAL", "clientCertificate": "/c.pem", "subjectAltNames": ["a", "b"]}),
                "MUTUAL with /c.pem, believes a or b",
            ),
            (
                json!({"mode": "ISTIO_MUTUAL", "insecureSkipVerify": true}),
                "ISTIO_MUTUAL",
            ),
            (
                json!({"mode": "SIMPLE", "credentialName": "c"}),
                "SIMPLE; shut, as credentialName has no source",
            ),
        ] {
            let rule = serde_json::from_value(written).expect("a rule");

            assert_eq!(tls(&rule), told);
        }
    }

    #[test]
    fn what_takes_an_endpoint_out_is_said_in_a_sentence() {
        let rules = Detection {
            errors: 5,
            gateway_errors: 0,
            local_failures: LocalFailures::Apart(2),
            codes: ErrorCodes::ServerErrors,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            ejected_percent_max: 10,
            success_rate: Some(Comparison {
                stdev_thousandths: 1_900,
                hosts_min: 5,
                requests_min: 100,
            }),
        };

        assert_eq!(
            detection(&rules),
            "out for 30s after 5 errors (5xx) or 2 failures without an answer in a row, or 1.9 \
             deviations fewer successes than the others; at most 10 % of endpoints"
        );
        let nothing = Detection {
            errors: 0,
            local_failures: LocalFailures::AsErrors,
            success_rate: None,
            ..rules
        };
        assert_eq!(detection(&nothing), "never out");
    }

    #[test]
    fn a_check_is_said_in_a_sentence() {
        for (written, told) in [
            (
                "http:/healthz;interval=5s;status=200",
                "GET /healthz with 200-200 within 1s every 5s; out after 3 failures in a row, \
                 back after 2 successes",
            ),
            (
                "tcp;port=81",
                "a connection at port 81 within 1s every 10s; out after 3 failures in a row, \
                 back after 2 successes",
            ),
        ] {
            assert_eq!(check(&written.parse().expect(written)), told);
        }
    }
}
