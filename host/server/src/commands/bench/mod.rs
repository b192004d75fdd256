//! `quorate bench`: which workloads run, and how their figures are shown. How each works is in `workloads`; how latencies are
//! taken, in `measure`.

mod check;
mod measure;
mod recipes;
mod workloads;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{Client, Error};
use quorate_core::error::ErrorCode;
use serde_json::{Value, json};

use self::measure::Figures;
use self::workloads::Workload;
use crate::commands::subtree::Deletion;
use crate::connect::{Global, goodbye};
use crate::duration;
use crate::failure::Usage;
use crate::output::{FAINT, NAME, TITLE};
use crate::signals::Signals;

/// `quorate bench`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Workloads are run one after the other; a name that is none of them stands for all that begin with it.
Figures are those of this client: latencies from the sending of a request to its reply. CPU is that of the member that serves it.
With a cluster, end its leader meanwhile: the longest latency of `set-1` is for how long nothing could be written.
After sets, creations, counters and queues the tree is compared with what was acknowledged: each operation once, also when the
server was killed and started again meanwhile.
The workloads write below /bench, whatever --root says, and deploy recipes named bench-*; both are removed at the end.

Examples:
  quorate bench --list
  quorate bench
  quorate bench get set --seconds 5
  quorate bench set-1 --seconds 30
  quorate bench lock --output json"
)]
pub struct Bench {
    /// Workloads; all if none is named
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// Seconds for each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Only list the workloads
    #[arg(long)]
    list: bool,
}

/// The subtree that workloads write to.
const ROOT: &str = "/bench";
/// Between two steps of the progress bar.
const TICK: Duration = Duration::from_millis(100);

/// A workload and what it came to.
struct Row {
    workload: Workload,
    figures: Figures,
    /// None if it is another process than at the beginning.
    server_cpu: Option<Duration>,
}

impl Bench {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        // What the recipes of the workloads write is looked for where their manifests say.
        let global = &global.without_root();
        let chosen = self.chosen()?;
        if self.list {
            let json = || json!({ "workloads": chosen.iter().map(|one| json!({ "name": one.name(), "what": one.what() })).collect::<Vec<_>>() });
            let line = |out: &mut dyn Write, one: &Workload| {
                writeln!(out, "{NAME}{:<18}{NAME:#} {}", one.name(), one.what())
            };
            global.output().show(json, |out| chosen.iter().try_for_each(|one| line(out, one)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut signals = Signals::take()?;
        let client = Client::connect(global.options()?).await?;
        let measured = tokio::select! {
            rows = self.measure(&chosen, &client, global) => Some(rows),
            _ = signals.next() => None,
        };
        // Also after Ctrl-C, and after a workload that was refused.
        let cleaned = clean(&client).await;
        goodbye(client).await;
        let Some(rows) = measured else { return Ok(crate::signals::Ask::Interrupt.exit_code()) };
        let rows = rows?;
        cleaned?;
        global.output().show(|| json!({ "seconds": self.seconds, "workloads": rows.iter().map(Row::json).collect::<Vec<_>>() }), |out| table(out, &rows))?;
        Ok(ExitCode::SUCCESS)
    }

    fn chosen(&self) -> anyhow::Result<Vec<Workload>> {
        let all = workloads::all();
        // A name that is one stands for itself; any other for all that begin with it.
        let is_meant = |name: &String, one: &Workload| {
            if all.iter().any(|other| other.name() == *name) {
                one.name() == *name
            } else {
                one.name().starts_with(name.as_str())
            }
        };
        for name in &self.workloads {
            if !all.iter().any(|one| is_meant(name, one)) {
                return Err(Usage(format!(
                    "no workload is named {name}: `quorate bench --list` shows them"
                ))
                .into());
            }
        }
        let is_chosen = |one: &&Workload| {
            self.workloads.is_empty() || self.workloads.iter().any(|name| is_meant(name, one))
        };
        Ok(all.iter().filter(is_chosen).copied().collect())
    }

    async fn measure(
        &self,
        chosen: &[Workload],
        client: &Client,
        global: &Global,
    ) -> anyhow::Result<Vec<Row>> {
        let length = Duration::from_secs(self.seconds);
        let bar = ProgressBar::new(chosen.len() as u64 * self.seconds * 10).with_style(style());
        let mut rows = Vec::new();
        for (at, workload) in chosen.iter().enumerate() {
            bar.set_position(at as u64 * self.seconds * 10);
            bar.set_message(workload.name());
            let before = client.status().await?;
            let began = Instant::now();
            let figures = tokio::select! {
                figures = workload.run(global, client, length) => figures?,
                never = advance(&bar, self.seconds * 10) => match never {},
            };
            let after = client.status().await?;
            // Its uptime would have lost what it was before, and the time that it was down.
            let up = Duration::from_millis(after.uptime_ms.saturating_sub(before.uptime_ms));
            let is_same = up + TICK >= began.elapsed();
            let used = Duration::from_micros(after.cpu_us.saturating_sub(before.cpu_us));
            let server_cpu = is_same.then_some(used);
            rows.push(Row { workload: *workload, figures, server_cpu });
        }
        bar.finish_and_clear();
        Ok(rows)
    }
}

async fn advance(bar: &ProgressBar, ticks: u64) -> std::convert::Infallible {
    for _ in 1..ticks {
        tokio::time::sleep(TICK).await;
        bar.inc(1);
    }
    std::future::pending().await
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:18} [{bar:30}] {elapsed} of about {duration}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Removes what the workloads leave behind.
async fn clean(client: &Client) -> anyhow::Result<()> {
    recipes::remove(client).await?;
    let deleted = Deletion::default().run(client, ROOT).await;
    match deleted {
        Err(error) if code(&error) != Some(ErrorCode::NoNode) => Err(error),
        _ => Ok(()),
    }
}

fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    error.downcast_ref::<Error>().map(Error::code)
}

impl Row {
    fn json(&self) -> Value {
        let figures = &self.figures;
        let mut json = json!({
            "name": self.workload.name(),
            "what": self.workload.what(),
            "operations": figures.operations(),
            "seconds": figures.elapsed.as_secs_f64(),
            "per_second": figures.per_second(),
            "p50_us": figures.latency_us(0.5),
            "p99_us": figures.latency_us(0.99),
            "p999_us": figures.latency_us(0.999),
            "longest_us": figures.latency_us(1.0),
            "server_cpu_seconds": self.server_cpu.map(|cpu| cpu.as_secs_f64()),
        });
        if let (Some(bytes), Some(object)) = (figures.bytes_each, json.as_object_mut()) {
            object.insert("server_bytes_each".to_owned(), bytes.into());
        }
        json
    }
}

fn table(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    writeln!(
        out,
        "{TITLE}{:<18} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}{TITLE:#}",
        "workload", "per s", "p50", "p99", "p99.9", "longest", "cpu", "us cpu/op"
    )?;
    for row in rows {
        let figures = &row.figures;
        let at = |quantile| latency(figures.latency_us(quantile));
        write!(
            out,
            "{NAME}{:<18}{NAME:#} {:>10.0} {:>10} {:>10} {:>10} {:>10} ",
            row.workload.name(),
            figures.per_second(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        )?;
        match row.server_cpu {
            Some(cpu) => {
                let each = cpu.as_secs_f64() * 1e6 / (figures.operations().max(1) as f64);
                write!(out, "{:>10} {each:>10.1}", duration::show(cpu))?;
            }
            None => write!(out, "{FAINT}{:>21}{FAINT:#}", "server restarted")?,
        }
        if let Some(bytes) = figures.bytes_each {
            write!(out, "  {FAINT}{bytes} bytes of the server's memory each{FAINT:#}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn latency(us: u64) -> String {
    match us {
        ..10_000 => format!("{us} us"),
        _ => format!("{:.1} ms", us as f64 / 1000.0),
    }
}
