//! What is in use when Secrets vanish.

use std::convert::Infallible;
use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The bodies of all requests to an API server that takes what it gets.
type Requests = Arc<Mutex<Vec<Vec<u8>>>>;

fn keeper() -> (Keeper, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let api_server = tower::service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move {
            let body = request.into_body().collect().await.expect("a body");
            let body = body.to_bytes();
            seen.lock().expect("no panic").push(body.to_vec());
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    });
    let client = kube::Client::new(api_server, "istio-system");
    let keeper = Keeper::new(client, "istio-system", DAY, &Registry::new()).expect("metrics");
    (keeper, requests)
}

fn there(files: &Files) -> Seen {
    Seen::There(Box::new(Secret {
        data: Some(data(files)),
        ..Secret::default()
    }))
}

/// The files of a company below whose root the mesh is.
fn company(now: SystemTime) -> Files {
    let root = authority::Authority::root("company", now, DAY * 30).expect("a root");
    let below = root.intermediate("mesh", now, DAY * 10).expect("below");
    Files::from([
        (ring::CERTIFICATE.to_owned(), below.chain_pem()),
        (ring::KEY.to_owned(), below.key_pem()),
        (ring::ROOTS.to_owned(), root.chain_pem()),
    ])
}

#[tokio::test]
async fn what_was_plugged_in_stays_in_use_when_it_vanishes_and_is_written_nowhere() {
    let now = SystemTime::now();
    let (mut keeper, requests) = keeper();
    let company = company(now);
    keeper.plugged = there(&company);
    keeper.own = Seen::Absent;
    keeper
        .look(now)
        .await
        .expect("no error")
        .expect("it is new");

    // Without our own, and with one.
    let own = Ring::make(NAME, DAY, now).expect("a root");
    let own = own.to_files().expect("files");
    for seen in [Seen::Absent, there(&own)] {
        keeper.plugged = Seen::Absent;
        keeper.own = seen;
        let error = keeper.look(now).await.expect_err("it is told");
        assert!(matches!(error, KeepError::Gone), "{error}");
    }

    assert!(requests.lock().expect("no panic").is_empty());
    keeper.plugged = there(&company);
    assert!(keeper.look(now).await.expect("it is back").is_none());
}

#[tokio::test]
async fn our_own_is_written_again_as_it_was() {
    let now = SystemTime::now();
    let (mut keeper, requests) = keeper();
    (keeper.plugged, keeper.own) = (Seen::Absent, Seen::Absent);
    let first = keeper.look(now).await.expect("made").expect("it is new");

    keeper.own = Seen::Absent;
    let again = keeper.look(now).await.expect("written");

    assert!(again.is_none(), "it is the same");
    let written = requests.lock().expect("no panic").pop().expect("a request");
    let secret: Secret = serde_json::from_slice(&written).expect("a Secret");
    let roots = files(&secret).remove(ring::ROOTS);
    assert_eq!(roots, Some(first.roots_pem()));
}

#[tokio::test]
async fn a_root_that_is_asked_for_during_a_rotation_is_not_forgotten() {
    let now = SystemTime::now();
    let (mut keeper, requests) = keeper();
    let mut ring = Ring::make(NAME, DAY, now).expect("a root");
    ring.ask();
    ring.step(DAY, now).expect("sound").expect("it begins");
    let rotating = ring.to_files().expect("files");
    keeper.plugged = Seen::Absent;
    let mut seen = there(&rotating);
    if let Seen::There(secret) = &mut seen {
        let wish = (ROTATE.to_owned(), "again".to_owned());
        secret.metadata.annotations = Some(BTreeMap::from([wish]));
    }
    keeper.own = seen;

    keeper.look(now).await.expect("written");

    let written = requests.lock().expect("no panic").pop().expect("a request");
    let secret: Secret = serde_json::from_slice(&written).expect("a Secret");
    let annotations = secret.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key(ROTATE), "{annotations:?}");
    let kept = files(&Secret {
        data: secret.data,
        ..Secret::default()
    });
    let mut kept = Ring::from_files(&kept, NAME, DAY).expect("a ring");
    let mut changes = Vec::new();
    for hours in 0..100 {
        let at = now + Duration::from_secs(3_600 * hours);
        changes.extend(kept.step(DAY, at).expect("sound"));
    }
    let again = [Change::Turned, Change::Left, Change::Announced];
    assert_eq!(changes[..3], again);
}
