//! How much memory is in use, and how much may be.
//!
//! In a container the limit is that of its control group, which also counts what the kernel holds for
//! the process, such as the buffers of its sockets. What can be thrown away at any time (file pages that
//! nobody used of late) does not count: it would never be what the process dies of.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::param::page_size;

/// Share of a control group's limit, in percent, that is the mark when none is given.
const DEFAULT_PERCENT: u64 = 90;
/// A limit from which on there is none: what the kernel shows where nobody set one.
const NO_LIMIT: u64 = 1 << 60;
/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Above how much memory new work is refused, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HighWater {
    /// At 90 % of the limit of the control group; never without one.
    Default,
    /// Never.
    Off,
    /// At so many bytes of resident memory.
    Bytes(u64),
    /// At a share of the limit of the control group, in percent.
    Percent(u64),
}

/// Where to look for the memory in use, and its mark.
#[derive(Debug, PartialEq, Eq)]
pub struct Memory {
    used: Used,
    /// Above it new work is refused, in bytes.
    pub mark: u64,
}

/// What counts as in use.
#[derive(Debug, PartialEq, Eq)]
enum Used {
    /// Resident memory of this process.
    Resident,
    /// That of a control group.
    Group(Group),
}

/// Files of a control group.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    usage: PathBuf,
    stat: PathBuf,
    /// The line of `stat` with what can be thrown away.
    inactive: &'static str,
}

/// How the files of a control group are called.
struct Names {
    limit: &'static str,
    usage: &'static str,
    inactive: &'static str,
}

/// In the second version of control groups, where all controllers share one tree.
const UNIFIED: Names = Names {
    limit: "memory.max",
    usage: "memory.current",
    inactive: "inactive_file ",
};
/// In the first version, where each has a tree of its own.
const SEPARATE: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file ",
};

// === impl Memory ===

impl Memory {
    /// What is asked for, on this machine; none if there is nothing to look at.
    ///
    /// # Errors
    ///
    /// A share of a limit is asked for, and there is no limit.
    pub fn of(asked: HighWater) -> Result<Option<Self>, NoLimit> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = || Group::find(Path::new(CGROUPS), &own);
        Self::with(asked, group)
    }

    fn with(
        asked: HighWater,
        group: impl FnOnce() -> Option<(Group, u64)>,
    ) -> Result<Option<Self>, NoLimit> {
        let share = |(group, limit): (Group, u64), percent| Self {
            used: Used::Group(group),
            mark: limit / 100 * percent,
        };
        match asked {
            HighWater::Off => Ok(None),
            HighWater::Default => Ok(group().map(|found| share(found, DEFAULT_PERCENT))),
            HighWater::Percent(percent) => {
                let found = group().ok_or(NoLimit)?;
                Ok(Some(share(found, percent)))
            }
            HighWater::Bytes(mark) => Ok(Some(Self {
                used: Used::Resident,
                mark,
            })),
        }
    }

    /// Bytes in use; none if the system does not say.
    pub fn used(&self) -> Option<u64> {
        match &self.used {
            Used::Resident => resident(&fs::read_to_string("/proc/self/statm").ok()?),
            Used::Group(group) => group.used(),
        }
    }
}

/// A share of a limit was asked for where there is none.
#[derive(Debug, thiserror::Error)]
#[error("the control group has no limit of memory that a share could be taken of")]
pub struct NoLimit;

/// Resident bytes by `/proc/self/statm`, which counts pages.
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(page_size() as u64))
}

// === impl Group ===

impl Group {
    /// The group of this process and its limit, by the text of `/proc/self/cgroup`. In a container
    /// the group is mostly mounted as the root.
    fn find(root: &Path, own: &str) -> Option<(Self, u64)> {
        let unified = own.lines().find_map(|line| line.strip_prefix("0::"));
        let separate = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|it| it == "memory")
                .then_some(path)
        });
        let unified = unified.and_then(|path| Self::limited(root, path, &UNIFIED));
        unified.or_else(|| Self::limited(&root.join("memory"), separate?, &SEPARATE))
    }

    /// The group at `path`, or the root where that is not visible, if it has a limit.
    fn limited(root: &Path, path: &str, names: &Names) -> Option<(Self, u64)> {
        let own = root.join(path.trim_start_matches('/'));
        let folder = [own, root.to_owned()]
            .into_iter()
            .find(|folder| folder.join(names.limit).exists())?;
        let text = fs::read_to_string(folder.join(names.limit)).ok()?;
        let limit: u64 = text.trim().parse().ok()?;
        let group = Self {
            usage: folder.join(names.usage),
            stat: folder.join("memory.stat"),
            inactive: names.inactive,
        };
        (limit < NO_LIMIT).then_some((group, limit))
    }

    fn used(&self) -> Option<u64> {
        let usage = fs::read_to_string(&self.usage).ok()?;
        let usage: u64 = usage.trim().parse().ok()?;
        let stat = fs::read_to_string(&self.stat).ok()?;
        let inactive = stat
            .lines()
            .find_map(|line| line.strip_prefix(self.inactive));
        let inactive = inactive.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
        Some(usage.saturating_sub(inactive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).expect("a folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
    }

    #[test]
    fn the_limit_of_the_own_group_counts_and_what_can_be_thrown_away_does_not() {
        let root = tempfile::tempdir().expect("a folder");
        let own = root.path().join("pods/a");
        write(
            &own,
            &[
                ("memory.max", "1000000\n"),
                ("memory.current", "500000\n"),
                ("memory.stat", "anon 1\ninactive_file 100000\n"),
            ],
        );

        let group = || Group::find(root.path(), "0::/pods/a\n");
        let memory = Memory::with(HighWater::Default, group).expect("no error");

        let memory = memory.expect("a limit");
        assert_eq!(memory.mark, 900_000);
        assert_eq!(memory.used(), Some(400_000));
        let half = Memory::with(HighWater::Percent(50), group).expect("no error");
        assert_eq!(half.map(|it| it.mark), Some(500_000));
    }

    #[test]
    fn a_group_that_is_mounted_as_the_root_is_found_there() {
        let root = tempfile::tempdir().expect("a folder");
        let files = [("memory.max", "4096\n")];
        write(root.path(), &files);

        let (group, limit) = Group::find(root.path(), "0::/kubepods/x\n").expect("a limit");

        assert_eq!(limit, 4_096);
        assert_eq!(group.usage, root.path().join("memory.current"));
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let root = tempfile::tempdir().expect("a folder");
        let files = [
            ("memory.limit_in_bytes", "2000\n"),
            ("memory.usage_in_bytes", "1500\n"),
            ("memory.stat", "total_inactive_file 500\n"),
        ];
        write(&root.path().join("memory/a"), &files);

        let own = "5:cpu:/a\n4:memory:/a\n";
        let (group, limit) = Group::find(root.path(), own).expect("a limit");

        assert_eq!((group.used(), limit), (Some(1_000), 2_000));
    }

    #[test]
    fn without_a_limit_there_is_no_mark_and_no_share() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), &[("memory.max", "max\n")]);
        let group = || Group::find(root.path(), "0::/\n");

        assert_eq!(Memory::with(HighWater::Default, group).ok(), Some(None));
        assert!(Memory::with(HighWater::Percent(80), group).is_err());
        assert_eq!(Memory::with(HighWater::Off, group).ok(), Some(None));
    }

    #[test]
    fn resident_memory_is_counted_in_pages() {
        assert_eq!(resident("900 3 1 1 0 1 0"), Some(3 * page_size() as u64));
        assert_eq!(resident("900"), None);

        let memory = Memory::with(HighWater::Bytes(1), || None).expect("no error");
        assert!(memory.and_then(|it| it.used()).is_some_and(|it| it > 1_000));
    }
}
