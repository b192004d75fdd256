//! Spans of time as people write them, and moments as they read them.

use std::time::Duration;

/// `500ms`, `2s`, `1.5m`, `1h`, `30d`; a number alone is seconds.
///
/// # Errors
/// A sentence on what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("\"{text}\" is no time: 500ms, 2s, 1.5m, 1h, 30d");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
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
    let seconds = since_1970_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{:02}Z", second % 60)
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
