//! What a tree of processes has used, from `/proc`.

use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};

/// Resident memory of a tree of processes.
///
/// Pages that two processes of a tree share are counted in each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All resident pages (`VmRSS`), in KiB.
    pub(crate) resident_kib: u64,
    /// Those that no file backs (`RssAnon`), in KiB.
    pub(crate) anonymous_kib: u64,
}

/// CPU time, user and system, that all threads of `pids` have used since they started.
///
/// From `schedstat` and not from `stat`, whose clock ticks are as long as a thousand requests.
/// A thread that has ended is not counted, so only the difference over a span in which no thread
/// ends means anything; that holds for proxies with fixed workers.
///
/// # Errors
/// When a process is gone or the kernel keeps no such statistics.
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut total_ns = 0;
    for pid in pids {
        let folder = format!("/proc/{pid}/task");
        for task in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
            let path = task
                .with_context(|| format!("list {folder}"))?
                .path()
                .join("schedstat");
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // The thread ended since it was listed: gone from the folder, or no longer a task.
                Err(error) if has_ended(&error) => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("read {}", path.display()));
                }
            };
            total_ns +=
                running_ns(&text).with_context(|| format!("understand {}", path.display()))?;
        }
    }
    Ok(Duration::from_nanos(total_ns))
}

/// Resident memory of all of `pids` together.
///
/// # Errors
/// When a process is gone.
pub(crate) fn memory(pids: &[u32]) -> Result<Memory> {
    let mut total = Memory::default();
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name| kib(&text, name).with_context(|| format!("find {name} in {path}"));
        total.resident_kib += field("VmRSS:")?;
        total.anonymous_kib += field("RssAnon:")?;
    }
    Ok(total)
}

/// Whether reading a file of a thread failed because the thread is gone (`ENOENT`, `ESRCH`).
fn has_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// First field of a `schedstat`: nanoseconds on a CPU.
fn running_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_of_schedstat_is_the_time_on_a_cpu() {
        assert_eq!(running_ns("81237912 5123 77\n"), Some(81_237_912));
        assert_eq!(running_ns(""), None);
    }

    #[test]
    fn memory_fields_are_found_by_their_whole_name() {
        let status = "Name:\tx\nVmRSS:\t    5124 kB\nRssAnon:\t     912 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(5124));
        assert_eq!(kib(status, "RssAnon:"), Some(912));
        assert_eq!(kib(status, "RssFile:"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let me = [std::process::id()];
        assert!(cpu(&me).unwrap() > Duration::ZERO);
        let memory = memory(&me).unwrap();
        assert!(memory.resident_kib > memory.anonymous_kib && memory.anonymous_kib > 0);
    }
}
