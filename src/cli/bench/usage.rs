//! What processes use: CPU time and memory, read from `/proc`. Zero where there is none.

use std::fs;
use std::ops::Sub;
use std::path::Path;

/// Ticks of `/proc/PID/stat` in a second. Linux has told user space this number on every machine
/// since 2.6, whatever its own clock does.
const TICKS: f64 = 100.0;

/// What some processes have used so far, together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time in seconds.
    pub(super) cpu_s: f64,
    /// Resident bytes now.
    pub(super) rss: u64,
    /// The sum of each one's most resident bytes since [`reset_peak`].
    pub(super) peak: u64,
}

/// What the processes have used. One that is gone counts nothing.
pub(super) fn of(pids: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        let status = read(&format!("/proc/{pid}/status"));
        sum.cpu_s += cpu_seconds(&read(&format!("/proc/{pid}/stat"))).unwrap_or(0.0);
        sum.rss += kilobytes(&status, "VmRSS:") * 1024;
        sum.peak += kilobytes(&status, "VmHWM:") * 1024;
    }
    sum
}

/// Makes the peaks start again from what is resident now.
pub(super) fn reset_peak(pids: &[u32]) {
    for pid in pids {
        // Of another user's process it is refused; its peak is that of its whole life then.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// CPU seconds of the scheduler, of this program, and of everything else on the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) server_s: f64,
    pub(super) client_s: f64,
    pub(super) foreign_s: f64,
}

impl Cpu {
    /// Since the machine was started.
    pub(super) fn now(server: &[u32]) -> Self {
        let server_s = of(server).cpu_s;
        let client_s = cpu_seconds(&read("/proc/self/stat")).unwrap_or(0.0);
        let foreign_s = machine_seconds(&read("/proc/stat")) - server_s - client_s;
        Self { server_s, client_s, foreign_s }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            server_s: self.server_s - before.server_s,
            client_s: self.client_s - before.client_s,
            // The parts are read one after another, so that a hundredth may be missing.
            foreign_s: (self.foreign_s - before.foreign_s).max(0.0),
        }
    }
}

/// Bytes of all files below a directory.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { bytes_below(&path) } else { meta.len() })
        .sum()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Fields 14 and 15 of `/proc/PID/stat`; the name, field 2, is in parentheses and may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11).map(str::parse::<f64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) / TICKS)
}

/// User, nice and system time of all processors: the first line of `/proc/stat`.
fn machine_seconds(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let numbers =
        line.split_whitespace().skip(1).take(3).filter_map(|word| word.parse::<f64>().ok());
    numbers.sum::<f64>() / TICKS
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 1 0 0 0 150 50 7 7 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(machine_seconds("cpu  100 50 50 7 7\ncpu0 1 1 1\n"), 2.0);
        assert_eq!(kilobytes("VmHWM:\t  12 kB\nVmRSS:\t   8 kB\n", "VmRSS:"), 8);
    }
}
