//! Rules come, stay as they are, are replaced, and go, by every backend and beside those of others.

use tests::netns::sidecar::meshproxy_name;
use tests::netns::{Families, Host, Network};

const BACKENDS: [&str; 3] = ["nft", "iptables-nft", "iptables-legacy"];

/// Rules of somebody else, in every place where ours go as well.
const FOREIGN_IPTABLES: &str = "*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp -m udp --dport 9 -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 9 -j MARK --set-xmark 0x9/0xffffffff
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:THEIRS - [0:0]
-A PREROUTING -p tcp -m tcp --dport 9 -j THEIRS
-A OUTPUT -p udp -m udp --dport 9 -j THEIRS
-A THEIRS -j RETURN
COMMIT
";
const FOREIGN_NFT: &str = "table inet theirs {
    chain output {
        type nat hook output priority -100; policy accept;
        tcp dport 9 redirect to :10
    }
}
";

/// Every kind of rule.
const EVERYTHING: [&str; 14] = [
    "-x",
    "10.9.0.0/16",
    "-o",
    "25",
    "-q",
    "5432",
    "-d",
    "9000",
    "-k",
    "vnet0",
    "-c",
    "net+",
    "--redirect-dns",
    "--drop-invalid",
];

struct Scene {
    host: Host,
    _network: Network,
}

impl Scene {
    fn new() -> Self {
        let network = Network::new(Families::Both);
        let host = network.host("pod");
        host.asks(&[
            "10.0.0.53".parse().expect("one"),
            "fd00::53".parse().expect("one"),
        ]);
        Self {
            host,
            _network: network,
        }
    }

    async fn iptables(&self, arguments: &[&str]) -> String {
        self.host
            .says(meshproxy_name(), &[&["iptables"], arguments].concat())
            .await
    }

    async fn feed(&self, command: &str, input: &str) {
        let script = format!("{command} <<'END'\n{input}END\n");
        self.host.says("sh", &["-c", &script]).await;
    }

    /// Every rule, by every program, and the addresses of loopback; without counters and chains that are
    /// empty, which the programs of iptables make when they look.
    async fn everything(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut programs = vec!["nft -s list ruleset inet".to_owned()];
        for tool in ["iptables", "ip6tables"] {
            programs.extend(["nft", "legacy"].map(|kind| format!("{tool}-{kind}-save")));
        }
        programs.push("ip addr show dev lo".to_owned());
        for program in programs {
            let text = self.host.says("sh", &["-c", &program]).await;
            let rules = text.lines().filter(|line| tells(line)).map(str::to_owned);
            seen.extend(rules);
        }
        seen
    }
}

fn tells(line: &str) -> bool {
    let line = line.trim();
    let is_built_in = line.starts_with(':') && !line.contains(" - ");
    let is_frame = ["", "}", "COMMIT"].contains(&line)
        || ["*", "#", "table ip ", "table ip6 ", "chain ", "type "]
            .iter()
            .any(|it| line.starts_with(it));
    !is_built_in && !is_frame
}

#[tokio::test]
async fn what_is_removed_leaves_everything_as_it_was() {
    for backend in BACKENDS {
        for foreign in [false, true] {
            let scene = Scene::new();
            if foreign {
                scene.feed("nft -f -", FOREIGN_NFT).await;
                for tool in ["iptables", "ip6tables"] {
                    for kind in ["nft", "legacy"] {
                        let program = format!("{tool}-{kind}-restore --noflush");
                        scene.feed(&program, FOREIGN_IPTABLES).await;
                    }
                }
            }
            let before = scene.everything().await;

            for arguments in [&[][..], &EVERYTHING] {
                let by = [&["--backend", backend], arguments].concat();
                scene.iptables(&by).await;
                let during = scene.everything().await;
                assert!(during.len() > before.len() + 10, "{backend}: {during:#?}");
                scene.iptables(&["--clean"]).await;
                assert_eq!(scene.everything().await, before, "{backend} {foreign}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_other_flags_replace_everything() {
    for backend in BACKENDS {
        let scene = Scene::new();
        let by = |arguments: &[&'static str]| [&["--backend", backend], arguments].concat();
        scene.iptables(&by(&["-d", "81"])).await;
        let plain = scene.everything().await;

        scene.iptables(&by(&["-d", "81"])).await;
        assert_eq!(scene.everything().await, plain, "{backend}");
        scene.iptables(&by(&EVERYTHING)).await;
        assert_ne!(scene.everything().await, plain, "{backend}");
        scene.iptables(&by(&["-d", "81"])).await;
        assert_eq!(scene.everything().await, plain, "{backend}");
    }
}

#[tokio::test]
async fn another_backend_takes_over_and_leaves_nothing_of_the_one_before() {
    for backend in BACKENDS {
        let scene = Scene::new();
        scene.iptables(&["--backend", backend]).await;
        let alone = scene.everything().await;

        for before in BACKENDS.into_iter().filter(|it| *it != backend) {
            scene.iptables(&["--clean"]).await;
            scene.iptables(&["--backend", before]).await;
            scene.iptables(&["--backend", backend]).await;
            assert_eq!(scene.everything().await, alone, "{before} {backend}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_what_a_shell_can_run() {
    for backend in BACKENDS {
        let scene = Scene::new();
        let before = scene.everything().await;
        let by = |arguments: &[&'static str]| [&["--backend", backend], arguments].concat();

        let script = scene.iptables(&by(&["--dry-run", "--redirect-dns"])).await;
        assert_eq!(scene.everything().await, before, "{backend}");
        scene.host.says("sh", &["-e", "-c", &script]).await;
        let pasted = scene.everything().await;
        assert_ne!(pasted, before, "{backend}");

        scene.iptables(&["--clean"]).await;
        scene.iptables(&by(&["--redirect-dns"])).await;
        assert_eq!(scene.everything().await, pasted, "{backend}");
    }
}

#[tokio::test]
async fn without_being_root_it_fails_and_says_which_program_did_not_do_what() {
    let scene = Scene::new();

    for arguments in [&["--backend", "nft"][..], &["--clean"]] {
        let mut command = scene.host.command(1_000, meshproxy_name());
        command.arg("iptables").args(arguments);
        let output = scene.host.ended(command).await;

        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let reason = ["nft list tables", "Operation not permitted"];
        assert!(reason.iter().all(|it| said.contains(it)), "{said}");
    }
}
