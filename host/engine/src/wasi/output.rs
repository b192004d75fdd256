//! Standard output and error as lines of the recipe's log. It bounds the line that is not yet whole; the log bounds the rest.

use crate::limits::OUTPUT_BYTES_MAX;
use crate::logs::{Level, Lines};

/// One of the two streams.
pub(crate) struct Output {
    level: Level,
    /// The begin of a line, less than `OUTPUT_BYTES_MAX`.
    line: Vec<u8>,
}

impl Output {
    pub(crate) const fn new(level: Level) -> Self {
        Self { level, line: Vec::new() }
    }

    /// Takes what the guest writes; whole lines go to the log.
    pub(crate) fn write(&mut self, contents: &[u8], lines: &mut Lines) {
        for part in contents.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= OUTPUT_BYTES_MAX {
                self.end_line(lines);
            }
        }
    }

    /// The run has ended: what is left is a line.
    pub(crate) fn finish(&mut self, lines: &mut Lines) {
        if !self.line.is_empty() {
            self.end_line(lines);
        }
    }

    fn end_line(&mut self, lines: &mut Lines) {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        lines.push(self.level, String::from_utf8_lossy(line).into_owned());
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> Vec<(Level, String)> {
        let mut lines = Lines::new(1 << 20);
        let mut output = Output::new(Level::Info);
        parts.iter().for_each(|part| output.write(part, &mut lines));
        output.finish(&mut lines);
        lines.into_lines()
    }

    fn texts(parts: &[&[u8]]) -> Vec<String> {
        written(parts).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_are_whole_wherever_the_guest_cuts_its_writes() {
        assert_eq!(texts(&[b"one", b" line\ntwo\r\n\nla", b"st"]), ["one line", "two", "", "last"]);
        assert_eq!(texts(&[b"", b"\n"]), [""]);
        assert_eq!(texts(&[b""]), [""; 0]);
        assert_eq!(texts(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_kept_no_longer_than_that() {
        let long = vec![b'x'; OUTPUT_BYTES_MAX / 2 + 1];
        let lines = texts(&[&long, &long, b"y"]);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].len(), lines[1].as_str()), (2 * long.len(), "y"));
    }
}
