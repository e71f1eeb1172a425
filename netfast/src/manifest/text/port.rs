//! Ports, ranges of ports, and names of ports.

use super::TextError;
use crate::model::{NamedPort, PortRange, Protocol};

/// Reads a port that an endpoint serves: `80`, `80/tcp` or `name=80/tcp`.
pub fn parse_port(text: &str) -> Result<NamedPort, TextError> {
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => {
            check_port_name(name)?;
            (Some(name.to_owned()), rest)
        }
        None => (None, text),
    };
    let (port, protocol) = split_protocol(rest)?;
    Ok(NamedPort { name, port: number(port)?, protocol })
}

/// Splits `80/udp` into the port and its protocol, TCP where none is named.
pub(super) fn split_protocol(text: &str) -> Result<(&str, Protocol), TextError> {
    match text.rsplit_once('/') {
        Some((port, name)) => Ok((port, protocol(name)?)),
        None => Ok((text, Protocol::Tcp)),
    }
}

/// Reads a protocol, in letters of either case.
pub fn protocol(text: &str) -> Result<Protocol, TextError> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| text.eq_ignore_ascii_case(protocol.name()))
        .ok_or_else(|| TextError::with_help(format!("{text:?} is not a protocol"), "use tcp, udp or sctp"))
}

/// Reads the number of a port.
pub fn number(text: &str) -> Result<u16, TextError> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if !digits {
        return Err(TextError::with_help(
            format!("{text:?} is not a port"),
            "write a number from 1 to 65535",
        ));
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(TextError::new(format!("port {text} is not between 1 and 65535"))),
    }
}

/// Reads a port or a range like `8000-8010`.
pub fn range(text: &str) -> Result<PortRange, TextError> {
    let Some((first, last)) = text.split_once('-') else { return number(text).map(PortRange::single) };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        let message = format!("the range {text} ends before it begins");
        return Err(TextError::with_help(message, format!("write {last}-{first}")));
    }
    Ok(PortRange { first, last })
}

/// Checks a name of a port, by the rules of Kubernetes.
pub fn check_port_name(name: &str) -> Result<(), TextError> {
    let say = |message: String, help: &str| Err(TextError::with_help(message, help));
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_digit()) {
        return say(format!("{name:?} is a port's name without a letter"), "for a number, drop the quotes");
    }
    if name.len() > 15 {
        return say(format!("the port name {name:?} is too long"), "it has at most 15 characters");
    }
    let letters = name.chars().any(|c| c.is_ascii_lowercase());
    let known = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letters && known && !name.starts_with('-') && !name.ends_with('-') && !name.contains("--") {
        return Ok(());
    }
    let message = format!("{name:?} is not a port's name");
    let lower = name.to_ascii_lowercase();
    if lower != name && check_port_name(&lower).is_ok() {
        return Err(TextError::with_help(message, format!("write {lower}")));
    }
    say(message, "use lower-case letters, digits and single '-' inside, with at least one letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let port = |name: Option<&str>, port, protocol| {
            Ok(NamedPort { name: name.map(ToOwned::to_owned), port, protocol })
        };
        assert_eq!(parse_port("80"), port(None, 80, Protocol::Tcp));
        assert_eq!(parse_port("53/UDP"), port(None, 53, Protocol::Udp));
        assert_eq!(parse_port("http=80/tcp"), port(Some("http"), 80, Protocol::Tcp));
        assert_eq!(parse_port("x=9/sctp"), port(Some("x"), 9, Protocol::Sctp));
        for bad in ["", "0", "65536", "-1", "+80", "80/", "80/icmp", "=80", "HTTP=80", "http=", "80-90"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_follow_kubernetes() {
        for good in ["http", "h2", "a-b", "0a", "abcdefghijklmno"] {
            assert!(check_port_name(good).is_ok(), "{good}");
        }
        for bad in ["", "80", "HTTP", "-a", "a-", "a--b", "a_b", "abcdefghijklmnop"] {
            assert!(check_port_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_port_name("HTTP").unwrap_err().help.as_deref(), Some("write http"));
    }

    #[test]
    fn ranges_go_upwards() {
        assert_eq!(range("80"), Ok(PortRange::single(80)));
        assert_eq!(range("80-80"), Ok(PortRange::single(80)));
        assert_eq!(range("80-90"), Ok(PortRange { first: 80, last: 90 }));
        assert_eq!(range("90-80").unwrap_err().help.as_deref(), Some("write 80-90"));
        assert!(range("80-").is_err());
    }
}
