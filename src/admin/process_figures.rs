//! What the process uses of the machine, under the names that every Prometheus client library gives it. On Linux alone.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::observe::metrics::family::Family;
use crate::observe::metrics::sample::Sample;

/// Reads them. What the system does not tell is left out.
pub(super) fn samples() -> Vec<Sample> {
    // One of them is the folder that is read.
    let files = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1) as f64).ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name| Some((number_of(&status, name)? * 1024) as f64);
    let numbers = [
        (Family::ProcessCpu, Some(cpu_seconds())),
        (Family::ProcessMemory, bytes("VmRSS")),
        (Family::ProcessVirtual, bytes("VmSize")),
        (Family::ProcessThreads, number_of(&status, "Threads").map(|threads| threads as f64)),
        (Family::ProcessFiles, files),
        (Family::ProcessMostFiles, getrlimit(Resource::Nofile).current.map(|most| most as f64)),
    ];
    let known = numbers.into_iter().filter_map(|(family, number)| Some((family, number?)));
    known.map(|(family, number)| Sample::number(family, Vec::new(), number)).collect()
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or_default(), u32::try_from(used.tv_nsec).unwrap_or_default()).as_secs_f64()
}

/// The number of a line of /proc/self/status: `VmRSS:   12345 kB`, `Threads:  7`.
fn number_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_everything() {
        assert_eq!(samples().len(), 6);
        assert!(cpu_seconds() > 0.0);
    }

    #[test]
    fn a_number_is_read_from_its_own_line() {
        let status = "Name:\tgateway\nVmSize:\t  204800 kB\nVmRSS:\t   12345 kB\nThreads:\t7\nVmSwap:\t0 kB\n";
        assert_eq!(
            ["VmSize", "VmRSS", "Threads", "Vm", "Name"].map(|name| number_of(status, name)),
            [Some(204_800), Some(12345), Some(7), None, None]
        );
    }
}
