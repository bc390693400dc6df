//! Durations as people write them in realm files and in the admin API: a whole number and a unit, `30s`, `5m`, `24h`, `90d`.

use std::time::Duration;

/// The units, largest first.
const UNITS: [(&str, u64); 4] = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)];

/// Reads a duration; `None` where it is none, or longer than 2⁶⁴ seconds.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (_, secs) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(secs).map(Duration::from_secs)
}

/// Writes a duration in the largest unit that leaves no remainder.
pub fn write(duration: Duration) -> String {
    let secs = duration.as_secs();
    UNITS
        .into_iter()
        .find(|(_, unit)| secs > 0 && secs.is_multiple_of(*unit))
        .map_or_else(|| format!("{secs}s"), |(name, unit)| format!("{}{name}", secs / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, secs) in
            [("0s", 0), ("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86400), ("90d", 7_776_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(secs)), "{text}");
            assert_eq!(write(Duration::from_secs(secs)), text);
        }
        assert_eq!(parse("24h"), Some(Duration::from_secs(86400)));
        assert_eq!(write(Duration::from_secs(5400)), "90m");
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "+5m",
            "5.5h",
            "1h30m",
            "5M",
            "5w",
            "5µ",
            "99999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
