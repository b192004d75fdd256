//! Spans of time as people write them, and moments as they read them.

use std::time::Duration;

/// `500ms`, `2s`, `1.5m`, `1h`; a number alone is seconds.
///
/// # Errors
/// A sentence on what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("\"{text}\" is no time: 500ms, 2s, 1.5m, 1h");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

/// `350 ms`, `12.5 s`, `3 min`, `5.0 h`.
#[must_use]
pub fn show(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        ..1.0 => format!("{} ms", span.as_millis()),
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Milliseconds since 1970 as `2026-11-22 19:25:00Z`.
#[must_use]
pub fn moment(since_1970_ms: u64) -> String {
    let text = quorate_gateway::audit::rfc3339(since_1970_ms);
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {}Z", time.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "s", "-1s", "2 days", "nan", "1e300h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_709_251_199_000), "2024-02-29 23:59:59Z");
        assert_eq!(moment(1_795_375_500_000), "2026-11-22 19:25:00Z");
    }
}
