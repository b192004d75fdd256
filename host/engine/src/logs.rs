//! The recipes' logs: lines in memory, bounded in bytes per run, in lines per second and in all. They are for the author of
//! a recipe; the server's own log does not get them.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::ids::{Millis, Zxid};

use crate::limits;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected.
    Warn,
    /// Wrong.
    Error,
}

/// A line of a recipe's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Time of the transaction; of a call that only reads, this machine's.
    pub time: Millis,
    /// Its number; a refused or discarded run's number may be another's too, and one that only reads has the last number that
    /// it saw.
    pub zxid: Zxid,
    /// How much it matters.
    pub level: Level,
    /// What the recipe wrote, or what the engine has to say about it.
    pub message: String,
}

/// Lines of one run.
pub(crate) struct Lines {
    lines: Vec<(Level, String)>,
    bytes_left: u64,
    bytes_max: u64,
    cut: u64,
}

impl Lines {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { lines: Vec::new(), bytes_left: bytes_max, bytes_max, cut: 0 }
    }

    /// Adds a line, unless the run has used up its bytes.
    pub(crate) fn push(&mut self, level: Level, message: String) {
        let bytes = message.len() as u64 + limits::LOG_LINE_BYTES;
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                self.lines.push((level, message));
            }
            None => self.cut += 1,
        }
    }

    /// Adds a line of the engine's own, which does not count.
    pub(crate) fn note(&mut self, level: Level, message: String) {
        self.lines.push((level, message));
    }

    pub(crate) fn into_lines(self) -> Vec<(Level, String)> {
        let mut lines = self.lines;
        if self.cut > 0 {
            let (cut, max) = (self.cut, self.bytes_max);
            lines.push((Level::Warn, format!("{cut} lines cut: over log_bytes = {max}")));
        }
        lines
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.cut == 0
    }
}

/// The logs of all recipes, by name.
#[derive(Default)]
pub(crate) struct Logs {
    recipes: BTreeMap<String, Log>,
    writes: u64,
}

#[derive(Default)]
struct Log {
    lines: VecDeque<LogLine>,
    bytes: usize,
    second: u64,
    lines_in_second: u32,
    dropped: u64,
    last_write: u64,
}

impl Logs {
    /// Appends a run's lines.
    pub(crate) fn append(&mut self, recipe: &str, time: Millis, zxid: Zxid, lines: Lines) {
        self.writes += 1;
        if !self.recipes.contains_key(recipe) {
            self.make_room();
            self.recipes.insert(recipe.to_owned(), Log::default());
        }
        let Some(log) = self.recipes.get_mut(recipe) else { return };
        log.last_write = self.writes;
        for (level, message) in lines.into_lines() {
            log.push(LogLine { time, zxid, level, message });
        }
    }

    /// The last `limit` lines, oldest first.
    pub(crate) fn last(&self, recipe: &str, limit: usize) -> Vec<LogLine> {
        let Some(log) = self.recipes.get(recipe) else { return Vec::new() };
        let skipped = log.lines.len().saturating_sub(limit);
        log.lines.iter().skip(skipped).cloned().collect()
    }

    fn make_room(&mut self) {
        if self.recipes.len() < limits::LOGS_MAX {
            return;
        }
        let oldest = self.recipes.iter().min_by_key(|(_, log)| log.last_write);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.recipes.remove(&name);
        }
    }
}

impl Log {
    fn push(&mut self, line: LogLine) {
        let second = line.time.0 / 1000;
        if second != self.second {
            self.second = second;
            self.lines_in_second = 0;
            if self.dropped > 0 {
                let message = format!("{} lines dropped: too many in a second", self.dropped);
                self.dropped = 0;
                self.keep(LogLine { level: Level::Warn, message, ..line });
            }
        }
        if self.lines_in_second == limits::LOG_LINES_PER_SECOND_MAX {
            self.dropped += 1;
            return;
        }
        self.lines_in_second += 1;
        self.keep(line);
    }

    fn keep(&mut self, line: LogLine) {
        self.bytes += line.message.len();
        self.lines.push_back(line);
        while self.lines.len() > limits::LOG_LINES_MAX || self.bytes > limits::LOG_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.message.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Lines {
        let mut lines = Lines::new(1 << 20);
        (0..count).for_each(|number| lines.push(Level::Info, number.to_string()));
        lines
    }

    #[test]
    fn a_log_takes_so_many_lines_a_second_and_says_how_many_it_dropped() {
        let mut logs = Logs::default();
        let max = limits::LOG_LINES_PER_SECOND_MAX as usize;
        logs.append("lock", Millis(1_000), Zxid(1), lines(max + 7));
        assert_eq!(logs.last("lock", usize::MAX).len(), max);
        logs.append("lock", Millis(2_000), Zxid(2), lines(1));
        let last = logs.last("lock", 2);
        assert_eq!(last[0].message, "7 lines dropped: too many in a second");
        assert_eq!(last[1].message, "0");
    }

    #[test]
    fn a_log_keeps_the_newest_lines() {
        let mut logs = Logs::default();
        for second in 0..10 {
            logs.append("lock", Millis(second * 1000), Zxid(second), lines(200));
        }
        let last = logs.last("lock", usize::MAX);
        assert_eq!(last.len(), limits::LOG_LINES_MAX);
        assert_eq!(last.last().map(|line| line.zxid), Some(Zxid(9)));
        assert_eq!(logs.last("lock", 3).len(), 3);
        assert!(logs.last("other", 3).is_empty());
    }
}
