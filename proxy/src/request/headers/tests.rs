//! How headers of a request are taken in.

use super::*;
use http::Request;

fn downstream() -> Downstream {
    let addr = std::net::SocketAddr::from(([10, 0, 0, 9], 1234));
    Downstream::new(crate::table::Bind::Tcp(addr), Some(addr), None)
}

fn received(
    direction: Direction,
    build: impl FnOnce(http::request::Builder) -> http::request::Builder,
) -> Result<Outgoing, Rejection> {
    let request = build(Request::builder()).body(()).expect("a request");
    let arrived = Arrived {
        head: Box::new(request.into_parts().0),
        body: None,
        spelling: None,
        interim: None,
        upgrade: None,
    };
    let reception = Reception {
        downstream: &downstream(),
        direction,
        limits: &Limits::default(),
        normalization: Normalization::Base,
        explains: false,
    };
    receive(arrived, Body::Empty, &reception, || 0)
}

#[test]
fn what_concerned_the_connection_is_dropped() {
    let outgoing = received(Direction::Outbound, |request| {
        request.uri("/").header("host", "a").header("te", "gzip")
    })
    .expect("a good request");

    assert!(!outgoing.head.headers.contains_key("te"));
    let te = HeaderValue::from_static("gzip");
    assert!(!passes(&header::TE, &te) && !is_hop_by_hop(&header::ACCEPT));
}

#[test]
fn who_may_not_know_what_becomes_of_a_request_does_not_ask_the_next_proxy_either() {
    let outgoing = received(Direction::Gateway, |request| {
        let request = request.uri("/").header("host", "a");
        request.header("x-meshproxy-explain", "1")
    });

    let headers = outgoing.expect("a good request").head.headers;
    assert!(!headers.contains_key("x-meshproxy-explain"));
}

#[test]
fn a_client_cannot_call_its_request_a_copy_and_the_mesh_can() {
    for (direction, stays) in [
        (Direction::Gateway, false),
        (Direction::Inbound, true),
        (Direction::Outbound, true),
    ] {
        let outgoing = received(direction, |request| {
            let request = request.uri("/").header("host", "a");
            request.header("x-mirrored", "true")
        });

        let headers = outgoing.expect("a good request").head.headers;
        assert_eq!(headers.contains_key("x-mirrored"), stays, "{direction:?}");
    }
}

#[test]
fn te_is_reduced_to_trailers() {
    for (sent, expected) in [
        ("trailers", Some("trailers")),
        ("gzip, Trailers", Some("trailers")),
        ("gzip;q=0.5", None),
    ] {
        let outgoing = received(Direction::Outbound, |request| {
            request.uri("/").header("host", "a").header("te", sent)
        });
        let headers = outgoing.expect("a good request").head.headers;
        let te = headers
            .get(header::TE)
            .map(|te| te.to_str().expect("text").to_owned());
        assert_eq!(te.as_deref(), expected, "{sent}");
    }
}

#[test]
fn instructions_of_the_caller_end_at_the_proxy_and_those_of_rules_do_not() {
    let told = [
        "x-envoy-attempt-count",
        "x-envoy-max-retries",
        "x-envoy-upstream-rq-timeout-ms",
    ];
    let outgoing = received(Direction::Outbound, |request| {
        let request = request.uri("/").header("host", "a");
        told.into_iter().fold(request, |request, name| {
            request.header(name, "1").header(name, "2")
        })
    });

    let headers = outgoing.expect("a good request").head.headers;
    assert_eq!(headers.keys().collect::<Vec<_>>(), [header::HOST]);
    let one = HeaderValue::from_static("1");
    assert!(passes(&HeaderName::from_static(told[1]), &one));
    assert!(passes(&X_ORIGINAL_PATH, &one));
    assert!(!passes(&X_ATTEMPT_COUNT, &one), "the attempt adds its own");
}

#[test]
fn the_caller_stands_behind_all_that_others_said() {
    let outgoing = received(Direction::Gateway, |request| {
        let name = &X_FORWARDED_FOR;
        let request = request.uri("/").header("host", "a").header(name, "9.9.9.9");
        request
            .header(name, &b"\xe9, 1.1.1.1"[..])
            .header(name, "2.2.2.2")
    });

    let headers = outgoing.expect("a good request").head.headers;
    let lines: Vec<&HeaderValue> = headers.get_all(&X_FORWARDED_FOR).iter().collect();
    assert_eq!(lines, [&b"9.9.9.9,\xe9, 1.1.1.1,2.2.2.2,10.0.0.9"[..]]);
}

#[test]
fn lines_that_http2_may_repeat_become_one() {
    let sent = |version, lines: [(&'static str, &'static str); 3]| {
        let outgoing = received(Direction::Outbound, |request| {
            let request = request.uri("http://a/").version(version);
            let named = lines.into_iter();
            named.fold(request, |request, (name, value)| {
                request.header(name, value)
            })
        });
        outgoing.map(|outgoing| {
            let headers = outgoing.head.headers;
            let lines = headers.get_all(lines[0].0).iter();
            let lines: Vec<String> = lines
                .map(|line| line.to_str().expect("text").to_owned())
                .collect();
            lines
        })
    };
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];

    let united = sent(Version::HTTP_2, cookies).expect("a good request");
    assert_eq!(united, ["a=1; b=2; c=3"]);
    let apart = sent(Version::HTTP_11, cookies).expect("a good request");
    assert_eq!(apart.len(), 3);
    let lengths = sent(Version::HTTP_2, [("content-length", "0"); 3]);
    assert_eq!(lengths.expect("a good request"), ["0"]);
    let differing = [
        ("content-length", "0"),
        ("content-length", "0"),
        ("content-length", "1"),
    ];
    assert!(sent(Version::HTTP_2, differing).is_err());
}

#[test]
fn a_request_id_that_is_none_is_replaced() {
    let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
    for bad in ["", &long] {
        let outgoing = received(Direction::Outbound, |request| {
            request
                .uri("/")
                .header("host", "a")
                .header("x-request-id", bad)
        });

        let outgoing = outgoing.expect("a good request");
        assert!(outgoing.own.id.is_some());
        assert!(!outgoing.head.headers.contains_key(&X_REQUEST_ID));
    }
}

#[test]
fn a_target_that_is_no_path_leads_nowhere() {
    let asked = |method: Method, target: &'static str| {
        received(Direction::Outbound, |request| {
            request.method(method).uri(target).header("host", "a")
        })
    };

    assert!(matches!(
        asked(Method::GET, "*"),
        Err(Rejection::BadRequest(_))
    ));
    assert!(matches!(
        asked(Method::GET, "foo"),
        Err(Rejection::BadRequest(_))
    ));
    assert!(matches!(
        asked(Method::OPTIONS, "*"),
        Err(Rejection::NoRule)
    ));
    assert!(
        asked(Method::CONNECT, "a:80").is_ok(),
        "a rule may allow it"
    );
}

#[test]
fn a_query_behind_an_authority_belongs_to_the_root() {
    let outgoing = received(Direction::Outbound, |request| request.uri("http://a?x=1"));

    assert_eq!(outgoing.expect("a good request").target(), "/?x=1");
}

#[test]
fn only_a_gateway_names_the_caller() {
    let at = |direction| {
        let outgoing = received(direction, |request| {
            request
                .uri("/")
                .header("host", "a")
                .header("x-forwarded-for", "1.1.1.1")
        });
        let mut outgoing = outgoing.expect("a good request");
        outgoing.settle_headers();
        outgoing.head.headers[&X_FORWARDED_FOR].clone()
    };

    assert_eq!(at(Direction::Gateway), "1.1.1.1,10.0.0.9");
    assert_eq!(at(Direction::Outbound), "1.1.1.1");
}

#[test]
fn a_request_id_is_kept_or_made() {
    let made = received(Direction::Outbound, |request| {
        request.uri("/").header("host", "a")
    });
    let kept = received(Direction::Outbound, |request| {
        request
            .uri("/")
            .header("host", "a")
            .header("x-request-id", "mine")
    });

    let id = |outgoing: Result<Outgoing, Rejection>| {
        let mut outgoing = outgoing.expect("a good request");
        outgoing.settle_headers();
        outgoing.head.headers[&X_REQUEST_ID].clone()
    };
    assert_eq!(id(made), "00000000-0000-4000-8000-000000000000");
    assert_eq!(id(kept), "mine");
}

#[test]
fn the_authority_must_be_clear() {
    let by_http2 = |target: &'static str, hosts: &[&'static str]| {
        let received = received(Direction::Outbound, |request| {
            let request = request.uri(target).version(Version::HTTP_2);
            hosts
                .iter()
                .fold(request, |request, host| request.header("host", *host))
        });
        received.map(|outgoing| outgoing.authority)
    };

    for (target, hosts) in [
        ("/", &[][..]),
        ("/", &["a", "a"]),
        ("/", &["a", "b"]),
        ("/", &["a b"]),
        ("/", &["u@a"]),
        ("http://a/x", &["b"]),
        ("http://user@b/x", &[]),
        ("http://a:99999/x", &[]),
    ] {
        let refused = by_http2(target, hosts);
        assert!(
            matches!(refused, Err(Rejection::Malformed(Malformed::Host))),
            "{target} {hosts:?}: {refused:?}"
        );
    }
    assert_eq!(by_http2("http://A/x", &["a"]).expect("one host"), "A");
    assert_eq!(by_http2("/", &["a:80"]).expect("one host"), "a:80");
    let absolute = received(Direction::Outbound, |request| {
        request.uri("http://b:81/x").header("host", "a")
    });
    assert_eq!(absolute.expect("a good request").authority, "b:81");
    assert!(received(Direction::Outbound, |request| request.uri("/")).is_err());
}

#[test]
fn what_the_parser_of_http2_lets_pass_meets_the_checks_of_http1() {
    let refused = |target: &str, name: &'static str, value: &'static str| {
        let received = received(Direction::Outbound, |request| {
            let request = request.uri(target).version(Version::HTTP_2);
            request.header(name, value)
        });
        match received {
            Err(Rejection::Malformed(malformed)) => Some(malformed),
            Ok(_) => None,
            Err(other) => panic!("{target} {name}: {other}"),
        }
    };

    let long = format!("http://a/{}", "x".repeat(40_000));
    assert_eq!(refused("http://a/x", "accept", "1"), None);
    assert_eq!(
        refused(&long, "accept", "1"),
        Some(Malformed::TargetTooLong)
    );
    assert_eq!(
        refused("http://a/\u{e4}", "accept", "1"),
        Some(Malformed::Target)
    );
    for length in ["", "+1", "1, 1"] {
        let malformed = refused("http://a/", "content-length", length);
        assert_eq!(malformed, Some(Malformed::Framing), "{length:?}");
    }
}

#[test]
fn who_a_client_proved_to_be_is_told_and_nobody_else_is_believed() {
    let name = &X_FORWARDED_CLIENT_CERT;
    let proved = HeaderValue::from_static("Hash=1");
    for (direction, client, expected) in [
        (
            Direction::Inbound,
            Some(&proved),
            Some("Hash=2,Hash=3,Hash=1"),
        ),
        (Direction::Inbound, None, None),
        (Direction::Gateway, Some(&proved), Some("Hash=1")),
        (Direction::Gateway, None, None),
        (Direction::Outbound, None, None),
    ] {
        let mut headers = HeaderMap::new();
        for claimed in ["Hash=2", "", "Hash=3"] {
            headers.append(name, HeaderValue::from_static(claimed));
        }

        tell_client(&mut headers, client, direction);

        let told: Vec<_> = headers.get_all(name).iter().collect();
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(told, expected, "{direction:?} {client:?}");
    }
    for claimed in [
        "x-forwarded-client-cert",
        "x_forwarded_client_cert",
        "x-forwarded_client-cert",
    ] {
        let outgoing = received(Direction::Inbound, |request| {
            let request = request.uri("/").header("host", "a");
            request.header(claimed, "Hash=2")
        });
        let headers = outgoing.expect("a good request").head.headers;
        assert!(
            !headers.contains_key(claimed),
            "{claimed}: in plain text nobody proved anything"
        );
    }
}

#[test]
fn what_another_proxy_says_leaves_the_lines_in_their_order() {
    let lines = ["host", "x-envoy-attempt-count", "accept", "x-request-id"];

    let outgoing = received(Direction::Inbound, |request| {
        let request = request.uri("/");
        lines
            .iter()
            .fold(request, |request, name| request.header(*name, "1"))
    });

    let headers = outgoing.expect("a good request").head.headers;
    let kept: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(kept, lines, "the number of the attempt is left out later");
}

#[test]
fn headers_that_only_look_like_ours_are_not_passed_on() {
    for (claimed, passes_gateway, passes_sidecar) in [
        ("x_forwarded_for", false, true),
        ("x-forwarded_for", false, true),
        ("x-forwarded_proto", false, true),
        ("x_mirrored", false, true),
        ("x_meshproxy_explain", false, false),
        ("x-meshproxy-a_b", false, false),
        ("x-envoy-max_retries", false, false),
        ("x_user", true, true),
        ("x-forwarded_host", true, true),
    ] {
        for (direction, passes) in [
            (Direction::Gateway, passes_gateway),
            (Direction::Inbound, passes_sidecar),
        ] {
            let outgoing = received(direction, |request| {
                let request = request.uri("/").header("host", "a");
                request.header(claimed, "10.0.0.1")
            });
            let headers = outgoing.expect("a good request").head.headers;
            assert_eq!(headers.contains_key(claimed), passes, "{claimed}");
        }
    }
}
