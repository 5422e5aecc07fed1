//! `--exit-with-app`: ends the proxy when the application is gone, so that a Job completes although the
//! proxy alone would run for ever.
//!
//! What can be seen are the processes of the namespace, which the pod must share
//! (`shareProcessNamespace: true`). The application is whoever is not this program, its ancestors, the
//! container that holds the namespace (`pause`) or a part of the kernel; where some of those are another
//! user's, only they. It must have been there before it can be gone.

use std::collections::BTreeMap;
use std::fs;
use std::process;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::admin::Command;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Looks in a row without the application after which it is gone: a container that is started again at
/// once is not.
const LOOKS_WITHOUT: u32 = 25;
/// The parent of the kernel's own processes.
const KERNEL: u32 = 2;

/// Why the application cannot be seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unseen {
    #[error(
        "--exit-with-app: this is process 1 of its namespace, so that no application can be seen: \
         the pod needs shareProcessNamespace: true"
    )]
    Alone,
    #[error("--exit-with-app: the processes of others cannot be seen: read /proc/1/status")]
    Hidden(#[source] std::io::Error),
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    parent: u32,
    user: u32,
    name: String,
    /// It has ended, and its parent has not heard of it yet.
    is_dead: bool,
}

/// What was seen of the application.
#[derive(Debug, Default)]
struct Sight {
    /// There was some process of it.
    seen: bool,
    /// There was one of another user.
    seen_other_user: bool,
    /// Looks in a row in which there was none.
    without: u32,
}

/// Begins to look, if that is asked for, and says by what task.
///
/// # Errors
///
/// If the application cannot be seen.
pub(super) fn watch(
    asked: bool,
    commands: mpsc::Sender<Command>,
) -> Result<Option<AbortHandle>, Unseen> {
    if !asked {
        return Ok(None);
    }
    if process::id() == 1 {
        return Err(Unseen::Alone);
    }
    fs::read_to_string("/proc/1/status").map_err(Unseen::Hidden)?;
    Ok(Some(tokio::spawn(look(commands)).abort_handle()))
}

async fn look(commands: mpsc::Sender<Command>) {
    let mut sight = Sight::default();
    loop {
        sleep(LOOK_INTERVAL).await;
        let before = sight.seen;
        let is_gone = sight.is_gone(&processes(), process::id());
        if sight.seen && !before {
            tracing::info!("the application is there");
        }
        if is_gone {
            tracing::info!("the application is gone");
            // Nobody takes commands who has begun to stop.
            let _ = commands.send(Command::Quit).await;
            return;
        }
    }
}

/// All processes that can be seen, by number.
fn processes() -> BTreeMap<u32, Process> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let numbers = folder.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let known = numbers.filter_map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some((pid, Process::parse(&status)?))
    });
    known.collect()
}

// === impl Process ===

impl Process {
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let first = |text: &str| text.split_ascii_whitespace().next()?.parse().ok();
        Some(Self {
            parent: first(field("PPid:")?)?,
            user: first(field("Uid:")?)?,
            name: field("Name:")?.to_owned(),
            is_dead: field("State:")?.starts_with(['Z', 'X']),
        })
    }
}

// === impl Sight ===

impl Sight {
    /// Takes in what can be seen; whether the application was there and is gone.
    fn is_gone(&mut self, all: &BTreeMap<u32, Process>, own: u32) -> bool {
        let Some(us) = all.get(&own) else {
            return false;
        };
        let app: Vec<&Process> = application(all, own).collect();
        let others = app.iter().any(|it| it.user != us.user);
        self.seen |= !app.is_empty();
        self.seen_other_user |= others;
        let is_there = match self.seen_other_user {
            true => others,
            false => !app.is_empty(),
        };
        self.without = match is_there {
            true => 0,
            false => self.without.saturating_add(1),
        };
        self.seen && self.without >= LOOKS_WITHOUT
    }
}

/// Processes that may be the application.
fn application(all: &BTreeMap<u32, Process>, own: u32) -> impl Iterator<Item = &Process> {
    let name = all.get(&own).map(|us| us.name.as_str());
    let mut family = vec![own];
    // Each step leads to another process, so that there are no more than these.
    for _ in 0..all.len() {
        match family.last().and_then(|pid| all.get(pid)) {
            Some(child) if child.parent != 0 => family.push(child.parent),
            Some(_) | None => break,
        }
    }
    // In a namespace of its own the number may be anybody's.
    let has_kernel = all.get(&KERNEL).is_some_and(|it| it.parent == 0);
    all.iter()
        .filter(move |(pid, it)| {
            let is_pause = **pid == 1 && it.name == "pause";
            let is_kernel = has_kernel && (**pid == KERNEL || it.parent == KERNEL);
            let is_ours = family.contains(pid) || name == Some(it.name.as_str());
            !is_pause && !is_kernel && !is_ours && !it.is_dead
        })
        .map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: u32, user: u32, name: &str) -> Process {
        Process {
            parent,
            user,
            name: name.to_owned(),
            is_dead: false,
        }
    }

    /// A pod with a shared namespace: the proxy is process 20 of user 1337.
    fn pod(app: &[(u32, Process)]) -> BTreeMap<u32, Process> {
        let base = [
            (1, process(0, 65_535, "pause")),
            (20, process(0, 1_337, "meshproxy")),
            (21, process(20, 1_337, "meshproxy")),
        ];
        base.into_iter().chain(app.iter().cloned()).collect()
    }

    fn looks(sight: &mut Sight, all: &BTreeMap<u32, Process>, times: u32) -> bool {
        (0..times).any(|_| sight.is_gone(all, 20))
    }

    #[test]
    fn an_application_that_was_there_and_is_not_any_more_is_gone() {
        let mut sight = Sight::default();
        let with = pod(&[(30, process(0, 1_000, "job"))]);

        assert!(!looks(&mut sight, &pod(&[]), 60), "it has not come yet");
        assert!(!looks(&mut sight, &with, 60));
        assert!(!looks(&mut sight, &pod(&[]), LOOKS_WITHOUT - 1));
        assert!(!looks(&mut sight, &with, 1), "it was started again");
        assert!(looks(&mut sight, &pod(&[]), LOOKS_WITHOUT));
    }

    #[test]
    fn others_of_our_user_do_not_hold_the_proxy_if_the_application_is_of_another() {
        let mut sight = Sight::default();
        let agent = (31, process(0, 1_337, "agent"));
        let both = pod(&[agent.clone(), (30, process(0, 1_000, "job"))]);

        assert!(!looks(&mut sight, &both, 1));
        assert!(looks(&mut sight, &pod(&[agent]), LOOKS_WITHOUT));
    }

    #[test]
    fn an_application_of_our_own_user_counts_where_there_is_no_other() {
        let mut sight = Sight::default();
        let with = pod(&[(30, process(0, 1_337, "job"))]);

        assert!(!looks(&mut sight, &with, 10));
        assert!(looks(&mut sight, &pod(&[]), LOOKS_WITHOUT));
    }

    #[test]
    fn whoever_started_us_and_whoever_is_dead_is_no_application() {
        let all: BTreeMap<u32, Process> = [
            (1, process(0, 0, "sh")),
            (2, process(0, 0, "kthreadd")),
            (3, process(2, 0, "kworker")),
            (20, process(1, 0, "meshproxy")),
            (
                30,
                Process {
                    is_dead: true,
                    ..process(1, 5, "job")
                },
            ),
        ]
        .into();

        assert_eq!(application(&all, 20).count(), 0);
    }

    #[test]
    fn what_the_system_says_of_a_process_is_read() {
        let status = "Name:\tmy job\nState:\tZ (zombie)\nPPid:\t7\nUid:\t5\t6\t5\t5\n";

        let read = Process::parse(status);

        let expected = Process {
            is_dead: true,
            ..process(7, 5, "my job")
        };
        assert_eq!(read, Some(expected));
        assert_eq!(Process::parse("Name:\ta\n"), None);
        assert!(processes().contains_key(&process::id()));
    }
}
