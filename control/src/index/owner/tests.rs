//! When generations are published; time stands still until all wait.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::fixture::objects;

fn service(port: u16) -> Event {
    let yaml = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{ports: [{{port: {port}}}]}}}}"
    );
    Event::Applied(objects(&yaml))
}

#[tokio::test(start_paused = true)]
async fn a_burst_makes_one_generation_and_one_without_end_makes_one_each_second() {
    let (sender, receiver) = mpsc::channel(16);
    let start = Instant::now();
    let published = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&published);
    let owner = tokio::spawn(run(
        receiver,
        MeshSettings::default(),
        move |generation, _| {
            let mut published = noted.lock().expect("no panic");
            published.push((generation.number, start.elapsed(), generation.since - start));
        },
    ));

    sender.send(Event::Synced).await.expect("taken");
    for port in 1..30 {
        sender.send(service(port)).await.expect("taken");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    drop(sender);
    owner.await.expect("ended");

    let published = published.lock().expect("no panic").clone();
    let ms = Duration::from_millis;
    let [(1, first, first_since), (2, second, second_since)] = published[..] else {
        panic!("{published:?}");
    };
    assert_eq!((first, first_since), (ms(1_000), ms(0)));
    // The last event came after 1.68 s, and then it was known that there are no more.
    assert_eq!((second, second_since), (ms(1_740), ms(1_020)));
}
