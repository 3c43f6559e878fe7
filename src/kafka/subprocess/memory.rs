//! The memory of all clients' processes together. They share the container's limit with the operator, whose end would leave
//! consumers at zero for longer: so the largest process ends before that.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use parking_lot::Mutex;

/// The most that all processes together may have, in bytes: half of the container's limit.
const MAX_TOTAL: u64 = 512 << 20;

/// How often each process is measured. An answer of 32 MB takes longer to arrive and to be read.
const CHECK: Duration = Duration::from_millis(250);

/// The anonymous memory of each process, in bytes.
#[derive(Default)]
pub(super) struct Memory {
    by_process: Mutex<HashMap<u32, u64>>,
}

/// A measured process, until this is dropped.
struct Measured<'a> {
    memory: &'a Memory,
    pid: u32,
}

impl Memory {
    /// Waits until all processes together have too much, and this one has the most of it; says so.
    pub async fn exceeded_by(self: &Arc<Self>, pid: u32) -> String {
        let measured = Measured { memory: self, pid };
        loop {
            tokio::time::sleep(CHECK).await;
            if let Some(total) = measured.record(anonymous(pid)) {
                return format!(
                    "it had the most memory when all clients' processes together had {} MiB, more than the {} MiB that they may have: \
                     the broker's answers are too large, or too many resets run at once",
                    total >> 20,
                    MAX_TOTAL >> 20
                );
            }
        }
    }
}

impl Measured<'_> {
    /// Records the process's memory. The sum of all, when it is too much and this process has the
    /// most.
    fn record(&self, bytes: u64) -> Option<u64> {
        let mut by_process = self.memory.by_process.lock();
        by_process.insert(self.pid, bytes);
        let (total, most) = by_process.values().fold((0, 0_u64), |(total, most), bytes| (total + bytes, most.max(*bytes)));
        (total > MAX_TOTAL && bytes >= most).then_some(total)
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.memory.by_process.lock().remove(&self.pid);
    }
}

/// The resident memory of a process that it alone has, in bytes; none of one that has exited. The pages of the program, which all
/// processes share, do not count: there they would count once for each.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    line.and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_process_ends_when_all_together_have_too_much() {
        let memory = Memory::default();
        let [small, large] = [1, 2].map(|pid| Measured { memory: &memory, pid });
        assert_eq!(large.record(MAX_TOTAL), None);
        assert_eq!(small.record(1), None, "it is not the largest");
        assert_eq!(large.record(MAX_TOTAL), Some(MAX_TOTAL + 1));
        drop(large);
        assert_eq!(small.record(MAX_TOTAL), None);
        assert!(anonymous(std::process::id()) > 1 << 20, "this process is measured");
        assert_eq!(anonymous(u32::MAX), 0);
    }
}
