//! What processes use of the machine: the server, as `/proc` has it, and this one.

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::fs;

/// A server's use at one moment.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Processor time since it started, of all its threads, in seconds. It comes in ticks of 10 ms.
    pub cpu_s: f64,
    /// Memory that it has now, and the most that it ever had.
    pub resident: Resident,
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Resident {
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
}

impl Usage {
    /// Of the process `pid`.
    pub fn of(pid: u32) -> Result<Usage, String> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).map_err(|error| {
                format!(
                    "--pid {pid}: {path} cannot be read: {error}; give the number of a process that \
                     runs on this machine, under Linux, or leave --pid out"
                )
            })
        };
        let wrong =
            || format!("--pid {pid}: /proc/{pid} is not as Linux writes it; leave --pid out");
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(wrong)?;
        let resident = resident(&read("status")?).ok_or_else(wrong)?;
        Ok(Usage { cpu_s: ticks as f64 / clock_ticks_per_second() as f64, resident })
    }
}

/// Processor time of this process, in seconds.
pub fn own_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// utime and stime, the 14th and 15th field. The second, the name, may hold anything, and ends at
/// the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

fn resident(status: &str) -> Option<Resident> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Resident { rss_bytes: bytes("VmRSS:")?, rss_peak_bytes: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_process_are_read() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 170 30 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("12 (a) S 1"), None);
        let status = "Name:\tnode\nVmHWM:\t    8 kB\nVmRSS:\t    5 kB\n";
        let read = Resident { rss_bytes: 5 << 10, rss_peak_bytes: 8 << 10 };
        assert_eq!(resident(status), Some(read));
        assert_eq!(resident("State:\tZ (zombie)\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something_and_others_are_told_to_be_away() {
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.resident.rss_bytes > 0 && own.resident.rss_peak_bytes > 0);
        assert!(own_cpu_s() > 0.0);
        assert!(Usage::of(u32::MAX).err().unwrap().contains("leave --pid out"));
    }
}
