//! Memory, processor time and file descriptors of this process, under the names that Prometheus'
//! client libraries use. Read from `/proc` at each scrape; elsewhere there is nothing to show.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Result};

/// Unit of times in `/proc/*/stat`: part of Linux' interface to programs, 100 on all platforms that
/// this program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc` says of this process.
#[derive(Debug)]
pub struct ProcCollector {
    cpu_seconds: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    start_seconds: Gauge,
    threads: Gauge,
}

/// The numbers of one reading of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// After the start of the machine.
    start_seconds: f64,
}

// === impl ProcCollector ===

impl ProcCollector {
    /// What is to be registered once in a process.
    ///
    /// # Errors
    ///
    /// None while the names are legal.
    pub fn new() -> Result<Self> {
        Ok(Self {
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "Processor time of user and system, in seconds.",
            )?,
            open_fds: Gauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "Limit of open file descriptors.")?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory.")?,
            virtual_bytes: Gauge::new("process_virtual_memory_bytes", "Virtual memory.")?,
            start_seconds: Gauge::new(
                "process_start_time_seconds",
                "Start of the process, in seconds since 1970.",
            )?,
            threads: Gauge::new("process_threads", "Threads.")?,
        })
    }

    fn read(&self) -> Option<()> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let spent = stat.cpu_seconds - self.cpu_seconds.get();
        // The counter takes no steps back; two scrapes at once may have read in either order.
        self.cpu_seconds.inc_by(spent.max(0.0));
        self.threads.set(stat.threads);
        self.start_seconds
            .set(stat.start_seconds + field(&boot, "btime")?);
        self.resident_bytes.set(field(&status, "VmRSS:")? * 1024.0);
        self.virtual_bytes.set(field(&status, "VmSize:")? * 1024.0);
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        self.max_fds
            .set(field(&limits, "Max open files").unwrap_or(f64::INFINITY));
        let open = fs::read_dir("/proc/self/fd").ok()?.count();
        self.open_fds
            .set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        Some(())
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.open_fds,
            &self.max_fds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.start_seconds,
            &self.threads,
        ]
    }
}

impl Collector for ProcCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.read() {
            Some(()) => self
                .parts()
                .into_iter()
                .flat_map(Collector::collect)
                .collect(),
            None => Vec::new(),
        }
    }
}

// === impl Stat ===

impl Stat {
    /// Fields are counted after the name of the program, which may contain anything but ends at the
    /// last bracket.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |position: usize| fields.get(position)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (number(11)? + number(12)?) / TICKS_PER_SECOND,
            threads: number(17)?,
            start_seconds: number(19)? / TICKS_PER_SECOND,
        })
    }
}

/// The first number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b) (c) S 1 7 7 0 -1 4194560 800 0 0 0 250 50 0 0 20 0 4 0 12345 1 2 3";

        let stat = Stat::parse(text).expect("a valid line");

        assert_eq!(
            stat,
            Stat {
                cpu_seconds: 3.0,
                threads: 4.0,
                start_seconds: 123.45
            }
        );
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "VmPeak:\t 20 kB\nVmRSS:\t  9000 kB\nMax open files   1024   4096  files\n";

        assert_eq!(field(text, "VmRSS:"), Some(9000.0));
        assert_eq!(field(text, "Max open files"), Some(1024.0));
        assert_eq!(field(text, "VmSize:"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let collector = ProcCollector::new().expect("valid names");

        assert_eq!(collector.read(), Some(()));

        assert!(collector.resident_bytes.get() > 1e5);
        assert!(collector.open_fds.get() >= 3.0);
        assert!(collector.start_seconds.get() > 1.6e9);
    }
}
