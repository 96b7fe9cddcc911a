//! Values on our command line that clap does not know: sizes and link rates.

use anyhow::{Context, Result, ensure};

/// A size in bytes, such as `256MiB`, `1 GiB` or `4096`. Units are powers of 1024 with an `i`, of 1000 without.
pub(crate) fn size(text: &str) -> Result<u64> {
    let units: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
    ];
    scaled(text, &units).with_context(|| format!("a size is written as 4096, 256MiB or 1GiB; got {text:?}"))
}

/// A link rate in bits per second in `tc`'s spelling, such as `20mbit` or `1gbit`.
pub(crate) fn rate(text: &str) -> Result<u64> {
    let units: [(&str, u64); 4] = [("bit", 1), ("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
    let rate = scaled(text, &units)
        .with_context(|| format!("a rate is written as 20mbit or 1gbit; got {text:?}"))?;
    ensure!(rate >= 1_000_000, "a rate below 1mbit would make every run take minutes; got {text:?}");
    Ok(rate)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_are_read() {
        assert_eq!(size("256MiB").unwrap(), 256 << 20);
        assert_eq!(size("1 gib").unwrap(), 1 << 30);
        assert_eq!(size("4096").unwrap(), 4096);
        assert_eq!(rate("20mbit").unwrap(), 20_000_000);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["", "MiB", "1.5GiB", "-1", "10 parsecs", "99999999999999999999", "18446744073709551615GiB"]
        {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        for bad in ["20", "20mb", "1bit"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
    }
}
