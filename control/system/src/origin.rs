//! Whether a request to a server for people comes from a web page that its user did not mean to ask it.
//!
//! A page of anybody can have a browser send requests to loopback, and can read the answers under a
//! name of its own that it lets lead there (DNS rebinding). What people and programs use - an address,
//! `localhost`, a name without dots such as that of a container, a name of a Kubernetes Service - is
//! nothing that a page can have.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// How browsers say where a request comes from (Fetch Metadata §2.4).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How names of Kubernetes Services end within a cluster. No such names can be bought.
const SERVICE: &str = ".svc";
const SERVICE_IN_DOMAIN: &str = ".svc.cluster.local";

/// Why a request is refused, if it is.
pub fn refusal(uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(ORIGIN) {
        return Some("requests of web pages (Origin) are not answered");
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return Some("requests of other sites (Sec-Fetch-Site) are not answered");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let is_ours = hosts.all(|host| {
        let authority = host.to_str().ok().and_then(|it| it.parse().ok());
        authority.is_some_and(|it: Authority| is_local(it.host()))
    });
    match is_ours && uri.host().is_none_or(is_local) {
        true => None,
        false => Some(
            "the host must be an IP address, localhost, a name without dots or one of a Kubernetes \
             Service that ends with .svc",
        ),
    }
}

/// Whether no page can have this host.
fn is_local(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_service = host.ends_with(SERVICE) || host.ends_with(SERVICE_IN_DOMAIN);
    (!host.contains('.') || is_service) && bare.is_none()
        || bare.unwrap_or(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(name: &'static str, value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        refusal(&Uri::from_static("/config"), &headers).is_some()
    }

    #[test]
    fn people_and_programs_are_answered() {
        for host in [
            "127.0.0.1:15000",
            "10.1.2.3",
            "[::1]:15000",
            "localhost:15000",
            "LOCALHOST",
            "sidecar",
            "meshcontrol.istio-system.svc:8080",
            "meshcontrol.istio-system.svc.cluster.local",
        ] {
            assert!(!is_refused("host", host), "{host}");
        }
        for site in ["same-origin", "none"] {
            assert!(!is_refused("sec-fetch-site", site), "{site}");
        }
        assert!(refusal(&Uri::from_static("/"), &HeaderMap::new()).is_none());
    }

    #[test]
    fn pages_of_others_are_refused() {
        for host in [
            "rebound.test:15000",
            "127.0.0.1.rebound.test",
            "localhost.rebound.test",
            "rebound.test.",
            "svc.rebound.test",
            "cluster.local",
            "127.0.0.1@rebound.test",
            "[rebound]",
            "a b",
            "",
        ] {
            assert!(is_refused("host", host), "{host}");
        }
        for origin in ["null", "http://localhost:15000", "https://rebound.test"] {
            assert!(is_refused("origin", origin), "{origin}");
        }
        for site in ["cross-site", "same-site", ""] {
            assert!(is_refused("sec-fetch-site", site), "{site}");
        }
        let absolute = Uri::from_static("http://rebound.test/config");
        assert!(refusal(&absolute, &HeaderMap::new()).is_some());
    }
}
