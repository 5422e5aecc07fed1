use super::*;

fn check(text: &str) -> Result<HealthCheck, String> {
    text.parse().map_err(|error: AnnotationError| error.0)
}

fn rate(text: &str) -> Result<SuccessRate, String> {
    text.parse().map_err(|error: AnnotationError| error.0)
}

#[test]
fn a_health_check_has_defaults_for_all_but_what_is_asked() {
    for (written, whole) in [
        (
            "http:/healthz",
            "http:/healthz;interval=10s;timeout=1s;unhealthy=3;healthy=2;status=200-399",
        ),
        (
            "tcp;interval=500ms",
            "tcp;interval=500ms;timeout=1s;unhealthy=3;healthy=2",
        ),
        ("grpc", "grpc;interval=10s;timeout=1s;unhealthy=3;healthy=2"),
        (
            "grpc:shop.Cart; port=9090; unhealthy=1; healthy=1; timeout=2s",
            "grpc:shop.Cart;interval=10s;timeout=2s;unhealthy=1;healthy=1;port=9090",
        ),
        (
            "http:/a?b=c;status=204",
            "http:/a?b=c;interval=10s;timeout=1s;unhealthy=3;healthy=2;status=204-204",
        ),
    ] {
        let check = check(written).expect("a legal check");
        assert_eq!(check.to_string(), whole);
        assert_eq!(whole.parse(), Ok(check), "what is shown can be written");
    }
}

#[test]
fn a_health_check_that_cannot_be_made_says_why() {
    let kinds = "must begin with http:/PATH, grpc, grpc:SERVICE or tcp, got";
    let options = "must have only interval, timeout, unhealthy, healthy, port, status with values, separated by";
    for (written, message) in [
        ("", format!("{kinds} \"\"")),
        ("http", format!("{kinds} \"http\"")),
        ("http:healthz", format!("{kinds} \"http:healthz\"")),
        ("http:/a b", format!("{kinds} \"http:/a b\"")),
        ("tcp:80", format!("{kinds} \"tcp:80\"")),
        ("grpc:", format!("{kinds} \"grpc:\"")),
        ("tcp;", format!("{options} \";\", got \"\"")),
        ("tcp;every=1s", format!("{options} \";\", got \"every=1s\"")),
        ("tcp;port=1;port=2", "port must be there once".to_owned()),
        ("tcp;status=200", "status is for http only".to_owned()),
        (
            "http:/;status=399-200",
            "status must be from 399 to 599, got \"200\"".to_owned(),
        ),
        (
            "tcp;interval=1ms",
            "interval must be from 100ms to 3600s, got 1ms".to_owned(),
        ),
        (
            "tcp;timeout=61s",
            "timeout must be from 100ms to 60s, got 61s".to_owned(),
        ),
        (
            "tcp;unhealthy=0",
            "unhealthy must be from 1 to 100, got \"0\"".to_owned(),
        ),
        (
            "tcp;port=65536",
            "port must be from 1 to 65535, got \"65536\"".to_owned(),
        ),
    ] {
        assert_eq!(check(written), Err(message), "{written}");
    }
}

#[test]
fn a_success_rate_has_defaults_for_all_of_it() {
    assert_eq!(rate(""), Ok(SuccessRate::default()));
    assert_eq!(
        rate("stdev=2.5;hosts=3;requests=10"),
        Ok(SuccessRate {
            stdev_thousandths: 2_500,
            hosts_min: 3,
            requests_min: 10,
        })
    );
    for (written, message) in [
        ("stdev=0", "stdev must be from 0.1 to 10, got \"0\""),
        ("stdev=NaN", "stdev must be from 0.1 to 10, got \"NaN\""),
        ("hosts=1", "hosts must be from 2 to 10000, got \"1\""),
        (
            "on",
            "must have only stdev, hosts, requests with values, separated by \";\", got \"on\"",
        ),
    ] {
        assert_eq!(rate(written), Err(message.to_owned()));
    }
}

#[test]
fn a_comma_before_an_option_is_not_taken_as_part_of_the_path() {
    let read = |text: &str| text.parse::<HealthCheck>().map_err(|it| it.to_string());

    assert_eq!(
        read("http:/healthz,interval=1s"),
        Err("must have \";\" before interval, got \",\"".to_owned())
    );
    assert!(read("http:/healthz?a=1,2&b=3").is_ok());
}
