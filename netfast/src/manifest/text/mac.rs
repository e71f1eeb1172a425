//! MAC addresses.

use super::TextError;

/// Reads a MAC address: six pairs of hexadecimal digits, with `:` or `-` between them.
pub fn parse_mac(text: &str) -> Result<[u8; 6], TextError> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut mac = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut mac {
        let digits = parts.next().filter(|d| d.len() == 2 && d.chars().all(|c| c.is_ascii_hexdigit()));
        let Some(value) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) else {
            return Err(wrong(text));
        };
        *byte = value;
    }
    if parts.next().is_some() { Err(wrong(text)) } else { Ok(mac) }
}

fn wrong(text: &str) -> TextError {
    TextError::with_help(format!("{text:?} is not a MAC address"), "write it like 02:00:00:00:00:10")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_are_read() {
        assert_eq!(parse_mac("02:00:0a:FF:00:10"), Ok([2, 0, 10, 255, 0, 16]));
        assert_eq!(parse_mac("02-00-0a-ff-00-10"), Ok([2, 0, 10, 255, 0, 16]));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2:0:0:0:0:0",
            "02:00-00:00:00:00",
            "+2:00:00:00:00:00",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
