//! `quorate recipe logs`: the last lines of a recipe's log, and those that come. The log is a ring in the memory of the member
//! that is asked, of 1024 lines and 256 KiB; what it keeps and drops is the engine's.

use std::time::Duration;

use quorate_client::{Client, LogLine};
use serde_json::json;

use crate::connect::Global;
use crate::duration;
use crate::output::{FAINT, Output};
use crate::signals::Signals;

/// `quorate recipe logs`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A member keeps the last 1024 lines (256 KiB) of each recipe in its memory, until it is restarted.
--follow looks twice a second and shows each line once. It says so where the log has gone on faster than it looked.

Examples:
  quorate recipe logs my-semaphore
  quorate recipe logs my-semaphore --follow"
)]
pub struct Logs {
    /// The recipe
    name: String,
    /// At most so many lines, the last ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Go on with new lines until Ctrl-C; looks twice a second
    #[arg(long, short)]
    follow: bool,
}

/// Between two looks at a log that is followed: well below the four seconds in which its ring can be filled.
const FOLLOW: Duration = Duration::from_millis(500);

impl Logs {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let output = global.output();
        global
            .with_client(async |client| {
                if !self.follow {
                    return show(output, &client.logs(&self.name, self.limit).await?);
                }
                let mut signals = Signals::take()?;
                tokio::select! {
                    followed = self.follow(&client, output) => followed,
                    _ = signals.next() => Ok(()),
                }
            })
            .await
    }

    /// Looks again and again, each time at the whole ring: a part of it may have gone on before the next look.
    async fn follow(&self, client: &Client, output: Output) -> anyhow::Result<()> {
        let mut seen = client.logs(&self.name, u32::MAX).await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        show(output, &seen[seen.len().saturating_sub(limit)..])?;
        loop {
            tokio::time::sleep(FOLLOW).await;
            let lines = client.logs(&self.name, u32::MAX).await?;
            let fresh = news(&seen, &lines);
            if !seen.is_empty() && fresh.len() == lines.len() && !lines.is_empty() {
                let told =
                    "lines may be missing here: the log was faster, or the member was restarted";
                output.say(format_args!("{FAINT}{told}{FAINT:#}"));
            }
            show(output, fresh)?;
            if !lines.is_empty() {
                seen = lines;
            }
        }
    }
}

/// What of `now` comes behind all of `seen`: the longest end of `seen` that `now` begins with is known. Lines have no numbers,
/// and may be equal in time, transaction and text; that shifts nothing as long as the two share more lines than can be equal.
/// They do: both are whole rings of 1024 lines, of which at most 256 are of one second.
fn news<'a>(seen: &[LogLine], now: &'a [LogLine]) -> &'a [LogLine] {
    let known = (0..=seen.len().min(now.len())).rev().find(|&count| seen.ends_with(&now[..count]));
    &now[known.unwrap_or(0)..]
}

fn show(output: Output, lines: &[LogLine]) -> anyhow::Result<()> {
    lines.iter().try_for_each(|line| {
        let level = match line.level {
            0 => "debug",
            1 => "info",
            2 => "warn",
            _ => "error",
        };
        let json = || json!({ "time_ms": line.time_ms, "zxid": line.zxid.0, "level": level, "message": line.message });
        output.show(json, |out| {
            let moment = duration::moment(line.time_ms);
            writeln!(out, "{FAINT}{moment}{FAINT:#} {level:<5} {}", line.message.escape_debug())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::ids::Zxid;

    fn lines(numbers: &[u64]) -> Vec<LogLine> {
        let line = |&number| LogLine {
            time_ms: number,
            zxid: Zxid(number),
            level: 1,
            message: String::new(),
        };
        numbers.iter().map(line).collect()
    }

    #[test]
    fn a_followed_log_shows_each_line_once() {
        assert_eq!(news(&lines(&[1, 2, 3]), &lines(&[2, 3, 4])), lines(&[4]));
        assert_eq!(news(&lines(&[1, 2]), &lines(&[1, 2])), lines(&[]));
        assert_eq!(news(&lines(&[]), &lines(&[1])), lines(&[1]));
        assert_eq!(news(&lines(&[1, 2]), &lines(&[7, 8])), lines(&[7, 8]));
        // Equal lines of one run, in a ring that is not full.
        assert_eq!(news(&lines(&[1, 1]), &lines(&[1, 1, 1])), lines(&[1]));
    }

    /// A ring as the engine keeps it, and a follower that looks at it after any number of new lines.
    #[test]
    fn no_line_is_missed_or_repeated_however_the_looks_fall() {
        const RING: usize = 32;
        const EQUAL: usize = 3;
        // Up to where the two rings share fewer lines than are equal.
        for step in 1..RING - EQUAL {
            let (mut ring, mut seen) = (Vec::new(), Vec::new());
            let (mut shown, mut written) = (Vec::new(), Vec::new());
            for number in 0..400_u64 {
                let line = lines(&[number / EQUAL as u64]);
                ring.extend_from_slice(&line);
                written.extend(line);
                if ring.len() > RING {
                    ring.remove(0);
                }
                if number % step as u64 == 0 {
                    shown.extend_from_slice(news(&seen, &ring));
                    seen.clone_from(&ring);
                }
            }
            shown.extend_from_slice(news(&seen, &ring));
            assert!(shown == written, "a look every {step} lines");
        }
    }
}
