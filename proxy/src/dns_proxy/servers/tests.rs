use super::*;
use crate::snapshot::Shared;

fn state(listening: &[&str]) -> Arc<State> {
    Arc::new(State {
        listening: addrs(listening),
        names: Shared::default(),
        servers: Shared::default(),
    })
}

fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn order(servers: &Servers, now: Instant) -> Vec<String> {
    let servers = servers.in_order(now);
    servers
        .into_iter()
        .map(|(_, addr)| addr.to_string())
        .collect()
}

#[test]
fn the_server_that_answered_last_is_asked_first() {
    let named = addrs(&["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"]);
    let servers = Servers::new(state(&[]), named);
    let now = Instant::now();

    assert_eq!(
        order(&servers, now),
        ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"]
    );
    let (second, _) = servers.in_order(now)[1];
    servers.prefer(second);
    assert_eq!(
        order(&servers, now),
        ["10.0.0.2:53", "10.0.0.3:53", "10.0.0.1:53"]
    );
}

#[test]
fn we_never_ask_ourselves() {
    for (listening, server, is_asked) in [
        ("127.0.0.1:53", "127.0.0.1:53", false),
        ("127.0.0.1:15053", "127.0.0.1:53", true),
        ("0.0.0.0:53", "127.0.0.1:53", false),
        ("0.0.0.0:53", "10.0.0.1:53", true),
        ("[::1]:53", "[::1]:53", false),
    ] {
        let servers = Servers::new(state(&[listening]), addrs(&[server]));

        let asked = servers.in_order(Instant::now()).len() == 1;
        assert_eq!(asked, is_asked, "{server} by {listening}");
    }
}

#[test]
fn a_file_names_servers_each_once_and_its_rest_is_ignored() {
    let text = b"search a.test\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver 10.0.0.1\n\
                 options ndots:5\n# nameserver 10.0.0.9\n";

    assert_eq!(parse(text), addrs(&["10.0.0.1:53", "[fd00::1]:53"]));
    assert!(parse(b"").is_empty());
    assert!(parse(b"nameserver nonsense\n\xff\xfe").is_empty());
}

#[test]
fn a_file_that_changes_is_read_again_but_not_looked_at_all_the_time() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("resolv.conf");
    let write = |text: &str, age_secs| {
        std::fs::write(&file, text).expect("written");
        let file = File::options().write(true).open(&file).expect("opened");
        let modified = SystemTime::now() - Duration::from_secs(age_secs);
        file.set_modified(modified).expect("dated");
    };
    let servers = Servers {
        file: Some(file.clone()),
        ..Servers::new(state(&[]), addrs(&["10.0.0.9:53"]))
    };
    let start = Instant::now();

    write("nameserver 10.0.0.1\n", 60);
    assert_eq!(order(&servers, start), ["10.0.0.1:53"]);
    write("nameserver 10.0.0.2\n", 30);
    assert_eq!(order(&servers, start + LOOK_INTERVAL / 2), ["10.0.0.1:53"]);
    assert_eq!(order(&servers, start + LOOK_INTERVAL), ["10.0.0.2:53"]);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(order(&servers, start + 2 * LOOK_INTERVAL), ["10.0.0.2:53"]);
}
