//! Programs that know nothing of a proxy, through two of them with mutual TLS between: once by IPv4,
//! once where there is only IPv6.

use std::process::Output;

use tests::netns::Families;

use crate::pods::{Pods, SERVICE};
use crate::servers::{Chat, Grpc, Mariadb, Postgres, Redis, SecureShell, Web};

/// A scenario for each family.
macro_rules! by_each_family {
    ($scenario:ident: $v4:ident, $v6:ident) => {
        #[tokio::test]
        async fn $v4() {
            $scenario(Families::V4).await;
        }

        #[tokio::test]
        async fn $v6() {
            $scenario(Families::V6).await;
        }
    };
}

by_each_family!(http1: http1_passes_over_ipv4, http1_passes_where_there_is_only_ipv6);
by_each_family!(http2: http2_passes_over_ipv4, http2_passes_where_there_is_only_ipv6);
by_each_family!(grpc: grpc_passes_over_ipv4, grpc_passes_where_there_is_only_ipv6);
by_each_family!(
    websocket: websockets_pass_over_ipv4,
    websockets_pass_where_there_is_only_ipv6
);
by_each_family!(tls: tls_passes_over_ipv4, tls_passes_where_there_is_only_ipv6);
by_each_family!(
    postgres: postgresql_passes_over_ipv4,
    postgresql_passes_where_there_is_only_ipv6
);
by_each_family!(
    mariadb: mariadb_passes_over_ipv4,
    mariadb_passes_where_there_is_only_ipv6
);
by_each_family!(redis: redis_passes_over_ipv4, redis_passes_where_there_is_only_ipv6);
by_each_family!(ssh: ssh_passes_over_ipv4, ssh_passes_where_there_is_only_ipv6);

/// What the client's program said; it must have ended well, and have been taken in mutual TLS.
async fn said(pods: &Pods, program: &str, output: Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: {}\n{complaint}\n{}",
        output.status,
        pods.logs()
    );
    let taken = pods.taken_in_mutual_tls().await;
    assert!(
        taken >= 1.0,
        "{program} went past the proxies\n{}",
        pods.logs()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn curl(pods: &Pods, arguments: &[&str]) -> String {
    let limits = ["-sS", "--fail", "--max-time", "20"];
    let output = pods
        .client
        .run("curl", &[&limits, arguments].concat())
        .await;
    said(pods, "curl", output).await
}

async fn http1(families: Families) {
    let pods = Pods::new(families).await;
    let _web = Web::start(&pods.server, SERVICE).await;

    let twice = [format!("http://{SERVICE}/a"), format!("http://{SERVICE}/b")];
    let answer = curl(&pods, &[&twice[0], &twice[1]]).await;

    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), 2, "{answer}");
    // The server is called at its own address, by the proxy beside it.
    let source = if families == Families::V4 {
        "127.0.0.6"
    } else {
        "::6"
    };
    for line in lines {
        assert_eq!(line, format!("HTTP/1.1 {} 80 {source}", pods.server.addr()));
    }
}

async fn http2(families: Families) {
    let pods = Pods::new(families).await;
    let _web = Web::start(&pods.server, SERVICE).await;

    let url = format!("http://{SERVICE}:81/");
    let answer = curl(&pods, &["--http2-prior-knowledge", &url]).await;

    assert!(answer.starts_with("HTTP/2.0 "), "{answer}");
}

async fn grpc(families: Families) {
    let pods = Pods::new(families).await;
    let _grpc = Grpc::start(&pods.server).await;

    for case in ["large_unary", "ping_pong", "status_code_and_message"] {
        let client = Grpc::client(&pods.client, SERVICE, case);
        let output = pods.client.ended(client).await;
        said(&pods, case, output).await;
    }
}

async fn websocket(families: Families) {
    let pods = Pods::new(families).await;
    let _chat = Chat::start(&pods.server).await;

    let client = Chat::client(&pods.client, &format!("ws://{SERVICE}:8765/"));
    let output = pods.client.ended(client).await;

    said(&pods, "chat.py", output).await;
}

async fn tls(families: Families) {
    let pods = Pods::new(families).await;
    let web = Web::start(&pods.server, SERVICE).await;

    let authority = web.authority().display().to_string();
    let url = format!("https://{SERVICE}/");
    let answer = curl(&pods, &["--http1.1", "--cacert", &authority, &url]).await;

    // The program's own certificate was seen: nobody ended its TLS.
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

async fn postgres(families: Families) {
    let pods = Pods::new(families).await;
    let _postgres = Postgres::start(&pods.server).await;

    let query = "SELECT sum(length(repeat('x', n))) FROM generate_series(1, 3000) AS n; \
                 SELECT inet_server_port();";
    let mut psql = pods.client.command(0, "psql");
    psql.args([
        "-h", SERVICE, "-U", "shop", "-d", "postgres", "-At", "-c", query,
    ]);
    psql.env("PGPASSWORD", "secret")
        .env("PGCONNECT_TIMEOUT", "20");
    let output = pods.client.ended(psql).await;

    assert_eq!(said(&pods, "psql", output).await, "4501500\n5432\n");
}

async fn mariadb(families: Families) {
    let pods = Pods::new(families).await;
    let _mariadb = Mariadb::start(&pods.server).await;

    // The server speaks first.
    let query = "CREATE TABLE item (size INT, body LONGTEXT); \
                 INSERT INTO item VALUES (1000000, REPEAT('x', 1000000)); \
                 SELECT size = LENGTH(body) FROM item;";
    let mut client = pods.client.command(0, "mariadb");
    client.args([
        "--no-defaults",
        "-h",
        SERVICE,
        "-u",
        "shop",
        "-psecret",
        "-N",
        "shop",
    ]);
    client.args(["--connect-timeout=20", "-e", query]);
    let output = pods.client.ended(client).await;

    assert_eq!(said(&pods, "mariadb", output).await, "1\n");
}

async fn redis(families: Families) {
    let pods = Pods::new(families).await;
    let _redis = Redis::start(&pods.server).await;

    for (arguments, expected) in [
        (&["PING"][..], "PONG\n"),
        (&["SET", "key", "value"], "OK\n"),
        (&["GET", "key"], "value\n"),
    ] {
        let arguments = [&["-h", SERVICE], arguments].concat();
        let output = pods.client.run("redis-cli", &arguments).await;
        assert_eq!(said(&pods, "redis-cli", output).await, expected);
    }
}

async fn ssh(families: Families) {
    const FILE_BYTES: usize = 32 << 20;
    let pods = Pods::new(families).await;
    let server = SecureShell::start(&pods.server).await;

    // The server speaks first.
    let mut ssh = server.client(&pods.client, "ssh");
    ssh.args([&format!("root@{SERVICE}"), "echo", "$SSH_CONNECTION"]);
    let connection = said(&pods, "ssh", pods.client.ended(ssh).await).await;
    assert!(connection.trim().ends_with(" 22"), "{connection}");

    let (sent, came, back) = (
        server.file("sent"),
        server.file("came"),
        server.file("back"),
    );
    let mut bytes = vec![0; FILE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    std::fs::write(&sent, &bytes).expect("a temporary file can be written");
    let remote = format!("root@{SERVICE}:{}", came.display());
    for (from, to) in [
        (sent.display().to_string(), remote.clone()),
        (remote, back.display().to_string()),
    ] {
        let mut scp = server.client(&pods.client, "scp");
        scp.args([from, to]);
        said(&pods, "scp", pods.client.ended(scp).await).await;
    }
    for copy in [came, back] {
        let copied = std::fs::read(&copy).expect("a copy was made");
        assert!(copied == bytes, "{} differs", copy.display());
    }
}
