//! Latencies of many tasks that do the same thing again and again until their time is over. It does not know what they do.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// Latencies in microseconds, two significant digits: up to a minute, longer ones count as that.
const LATENCY_US_MAX: u64 = 60_000_000;
const DIGITS: u8 = 2;

/// What was measured.
pub struct Figures {
    latencies: Histogram<u64>,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Bytes of the server's memory for each of what the workload piles up.
    pub bytes_each: Option<u64>,
}

impl Figures {
    /// Nothing yet.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)
            .context("a histogram of latencies")?;
        Ok(Self { latencies, elapsed: Duration::ZERO, bytes_each: None })
    }

    /// Adds an operation.
    pub fn record(&mut self, latency: Duration) {
        self.latencies
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// How many there were.
    pub fn operations(&self) -> u64 {
        self.latencies.len()
    }

    /// How many in a second.
    pub fn per_second(&self) -> f64 {
        self.operations() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency that this part of all operations does not pass, in microseconds.
    pub fn latency_us(&self, quantile: f64) -> u64 {
        self.latencies.value_at_quantile(quantile)
    }
}

/// Runs `tasks` tasks; task number i makes its operation with `make(i)` and runs it again and again for this long.
/// An operation that has begun is finished and counted.
///
/// # Errors
/// The first one that an operation gives.
pub async fn repeat<O, F>(
    tasks: usize,
    length: Duration,
    mut make: impl FnMut(usize) -> O,
) -> anyhow::Result<Figures>
where
    O: FnMut(u64) -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let mut running = JoinSet::new();
    let began = Instant::now();
    let until = began + length;
    for task in 0..tasks {
        let mut operation = make(task);
        running.spawn(async move {
            let mut figures = Figures::new()?;
            for round in 0.. {
                let start = Instant::now();
                if start >= until {
                    break;
                }
                operation(round).await?;
                figures.record(start.elapsed());
            }
            anyhow::Ok(figures)
        });
    }
    let mut all = Figures::new()?;
    while let Some(one) = running.join_next().await {
        all.latencies
            .add(&one.context("a task of the workload failed")??.latencies)
            .context("latencies do not add up")?;
    }
    all.elapsed = began.elapsed();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_operation_is_counted_and_a_failure_ends_all() {
        let figures = repeat(3, Duration::from_millis(20), |_| {
            |_| async {
                tokio::task::yield_now().await;
                Ok(())
            }
        });
        let figures = figures.await.expect("measured");
        assert!(figures.operations() >= 3 && figures.per_second() > 0.0);
        assert!(figures.latency_us(0.5) <= figures.latency_us(0.999));
        let failed = repeat(2, Duration::from_secs(60), |task| {
            move |_| async move {
                anyhow::ensure!(task == 0, "refused");
                tokio::task::yield_now().await;
                Ok(())
            }
        });
        assert!(failed.await.is_err());
    }
}
