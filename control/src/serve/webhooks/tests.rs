//! That nobody keeps the API server out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use authority::{Authority, Bundle};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::super::tls;
use super::*;
use crate::signer::trust::Trust;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than a connection needs that is not taken.
const MOMENT: Duration = Duration::from_millis(200);

/// Answers at a port of this host; stops by the sender.
async fn server() -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
    let now = SystemTime::now();
    let root = Authority::root("test", now, DAY * 30).expect("a root");
    let mut roots = Bundle::default();
    roots.add(root.certificate()).expect("a root");
    let trust = Trust::new(root, roots, now).expect("it signs");
    let names = vec!["control.test".parse().expect("a name")];
    let secured = tls::Server::new(names, &"td".into(), DAY).start(&trust, now);
    let tls = secured.expect("a certificate").webhooks.subscribe();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (stopping, stop) = Stop::new();
    let router = Handler::new(|_| async { text(StatusCode::OK, "ok") });
    let serving = tokio::spawn(serve(listener, tls, router, stop));
    (addr, stopping, serving)
}

/// A connection from an address of this host.
async fn connect(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(to).await
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    timeout(MOMENT, stream.read_u8()).await.is_ok()
}

#[tokio::test]
async fn one_address_cannot_take_the_connections_of_all() {
    let (addr, _stopping, serving) = server().await;

    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_EACH_MAX {
        held.push(connect(1, addr).await.expect("connected"));
    }
    let mut more = connect(1, addr).await.expect("connected");
    let mut other = connect(2, addr).await.expect("connected");

    assert!(is_closed(&mut more).await);
    assert!(!is_closed(&mut other).await);
    assert!(!is_closed(&mut held[0]).await);
    serving.abort();
}

#[test]
fn connections_of_one_address_share_its_questions() {
    let (shares, first) = (Shares::default(), IpAddr::from([10, 0, 0, 1]));
    let share = shares.of(first);

    assert!(Arc::ptr_eq(&share, &shares.of(first)));
    let other = shares.of(IpAddr::from([10, 0, 0, 2]));
    assert!(!Arc::ptr_eq(&share, &other));
    assert_eq!(share.available_permits(), QUESTIONS_EACH_MAX);

    drop((share, other));
    shares.of(first);
    assert_eq!(
        shares.0.lock().expect("no panic").len(),
        1,
        "others are gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_question_ends() {
    let under_way: Arc<watch::Sender<usize>> = Arc::default();
    let start = Instant::now();

    idle(under_way.subscribe(), start + TURN_TIMEOUT).await;

    assert_eq!(start.elapsed(), TURN_TIMEOUT, "nothing was asked");
}

#[tokio::test(start_paused = true)]
async fn a_connection_lasts_while_it_is_asked() {
    let under_way: Arc<watch::Sender<usize>> = Arc::default();
    let start = Instant::now();
    let ended = tokio::spawn(idle(under_way.subscribe(), start + TURN_TIMEOUT));

    sleep(TURN_TIMEOUT / 2).await;
    let question = UnderWay::begin(Arc::clone(&under_way));
    sleep(IDLE_MAX * 2).await;
    assert!(!ended.is_finished(), "one is under way");
    drop(question);
    ended.await.expect("no panic");

    assert_eq!(start.elapsed(), TURN_TIMEOUT / 2 + IDLE_MAX * 3);
}

#[tokio::test]
async fn who_comes_when_it_is_time_to_stop_is_still_answered() {
    let (addr, stopping, serving) = server().await;
    let mut before = connect(1, addr).await.expect("connected");

    stopping.send_replace(true);
    sleep(MOMENT).await;

    assert!(!is_closed(&mut before).await);
    let mut after = connect(1, addr).await.expect("connected");
    assert!(!is_closed(&mut after).await);
    serving.abort();
}
