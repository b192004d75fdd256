//! What the operating system says of this process. Linux only; zeros elsewhere.

use std::fs;

/// Time and memory that the process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

/// Clock ticks a second in /proc: fixed by the kernel's ABI on all architectures that we run on.
const TICKS_PER_SECOND: u64 = 100;
const KIB: u64 = 1024;

/// Asks /proc.
#[must_use]
pub fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Usage { cpu_us: cpu_us(&stat), memory_bytes: memory_bytes(&status) }
}

/// Fields 14 and 15 of /proc/self/stat, counted behind the parenthesis that ends the command's name.
fn cpu_us(stat: &str) -> u64 {
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks * 1_000_000 / TICKS_PER_SECOND
}

fn memory_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * KIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 4194560 10 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_us(stat), 3_000_000);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(memory_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), 2048 * 1024);
    }
}
