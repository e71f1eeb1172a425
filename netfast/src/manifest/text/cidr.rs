//! Blocks of addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::TextError;

/// Reads a block, its host bits as they are written.
pub fn parse(text: &str) -> Result<IpNet, TextError> {
    if text.contains(',') {
        let message = format!("{text:?} is not a block of addresses");
        return Err(TextError::with_help(message, "write a block of its own for each"));
    }
    if text.contains(char::is_whitespace) {
        let message = format!("{text:?} is not a block of addresses");
        return Err(TextError::with_help(message, "it takes no spaces"));
    }
    let Some((address, prefix)) = text.split_once('/').filter(|_| !text.contains("://")) else {
        return Err(without_prefix(text));
    };
    let address = address_of(address)?;
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let message = format!("{text:?} is an IPv4 address in IPv6 form");
        let length = prefix.parse::<u8>().ok().and_then(|p| p.checked_sub(96)).filter(|p| *p <= 32);
        return Err(TextError::with_help(message, format!("write {v4}/{}", length.unwrap_or(32))));
    }
    let (family, longest) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
    let digits = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_digit());
    let length =
        prefix.parse::<u8>().ok().filter(|_| digits && !(prefix.len() > 1 && prefix.starts_with('0')));
    length.and_then(|length| IpNet::new(address, length).ok()).ok_or_else(|| {
        let message = format!("/{prefix} is not a prefix length");
        let help = match netmask(prefix) {
            Some(length) => format!("write {address}/{length}"),
            None => format!("{family} takes /0 to /{longest}"),
        };
        TextError::with_help(message, help)
    })
}

/// Reads a block whose host bits must be zero.
pub fn parse_strict(text: &str) -> Result<IpNet, TextError> {
    let net = parse(text)?;
    if net.trunc() == net {
        return Ok(net);
    }
    let message = format!("{text} has bits set beyond its prefix");
    Err(TextError::with_help(message, format!("write {}", net.trunc())))
}

/// Reads an address.
pub fn parse_address(text: &str) -> Result<IpAddr, TextError> {
    if let Some((address, _)) = text.split_once('/') {
        let message = format!("{text:?} is a block, not an address");
        return Err(TextError::with_help(message, format!("write {address}")));
    }
    match address_of(text)? {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(TextError::with_help(
            format!("{text:?} is an IPv4 address in IPv6 form"),
            format!("write {}", v6.to_canonical()),
        )),
        address => Ok(address),
    }
}

fn address_of(text: &str) -> Result<IpAddr, TextError> {
    text.parse::<IpAddr>().map_err(|_error| {
        let message = format!("{text:?} is not an address");
        match without_leading_zeros(text) {
            Some(address) => TextError::with_help(
                format!("{message}: leading zeros are octal to some and decimal to others"),
                format!("write {address}"),
            ),
            None => TextError::new(message),
        }
    })
}

fn without_prefix(text: &str) -> TextError {
    if let Ok(address) = text.parse::<IpAddr>() {
        let message = format!("{text:?} has no prefix length");
        if address.is_unspecified() {
            return TextError::with_help(message, format!("write {address}/0 for every address"));
        }
        let length = if address.is_ipv4() { 32 } else { 128 };
        return TextError::with_help(message, format!("write {address}/{length} for this address alone"));
    }
    let message = format!("{text:?} is not a block of addresses");
    let range = text
        .split_once('-')
        .is_some_and(|(first, last)| first.parse::<IpAddr>().is_ok() && !last.contains(char::is_alphabetic));
    let is_all = ["any", "all", "*", "world"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let help = if range {
        "a range is written as blocks, like 10.0.0.0/30"
    } else if is_all {
        "every address is 0.0.0.0/0 and ::/0"
    } else if text.parse::<SocketAddr>().is_ok() {
        "a block has no port"
    } else {
        "write it like 10.0.0.0/8 or fd00::/8; names are not looked up"
    };
    TextError::with_help(message, help)
}

fn without_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u8>> = text
        .split('.')
        .map(|part| part.parse().ok().filter(|_| part.chars().all(|c| c.is_ascii_digit())))
        .collect();
    <[u8; 4]>::try_from(parts?).ok().map(Ipv4Addr::from)
}

/// The length of a prefix written as a netmask.
fn netmask(text: &str) -> Option<u8> {
    let length = match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(mask) => ipnet::ip_mask_to_prefix(IpAddr::V4(mask)),
        IpAddr::V6(_) => return None,
    };
    length.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_blocks_bring_the_right_one() {
        for (text, wanted) in [
            ("10.0.0.1", "\"10.0.0.1\" has no prefix length (write 10.0.0.1/32 for this address alone)"),
            ("0.0.0.0", "\"0.0.0.0\" has no prefix length (write 0.0.0.0/0 for every address)"),
            ("any", "\"any\" is not a block of addresses (every address is 0.0.0.0/0 and ::/0)"),
            ("1.2.3.4:80", "\"1.2.3.4:80\" is not a block of addresses (a block has no port)"),
            ("10.0.0.0/8 ", "\"10.0.0.0/8 \" is not a block of addresses (it takes no spaces)"),
            (
                "10.0.0.0/8,11.0.0.0/8",
                "\"10.0.0.0/8,11.0.0.0/8\" is not a block of addresses (write a block of its own for each)",
            ),
            ("fd00::1", "\"fd00::1\" has no prefix length (write fd00::1/128 for this address alone)"),
            ("10.0.0.0/33", "/33 is not a prefix length (IPv4 takes /0 to /32)"),
            ("fd00::/129", "/129 is not a prefix length (IPv6 takes /0 to /128)"),
            ("10.0.0.0/", "/ is not a prefix length (IPv4 takes /0 to /32)"),
            ("10.0.0.0/08", "/08 is not a prefix length (IPv4 takes /0 to /32)"),
            ("10.0.0.0/+8", "/+8 is not a prefix length (IPv4 takes /0 to /32)"),
            ("10.0.0.0/255.0.0.0", "/255.0.0.0 is not a prefix length (write 10.0.0.0/8)"),
            ("300.0.0.0/8", "\"300.0.0.0\" is not an address"),
            (
                "10.0.0.01/32",
                "\"10.0.0.01\" is not an address: leading zeros are octal to some and decimal to others \
                 (write 10.0.0.1)",
            ),
            (
                "10.0.0.1-10.0.0.9",
                "\"10.0.0.1-10.0.0.9\" is not a block of addresses (a range is written as blocks, like 10.0.0.0/30)",
            ),
            (
                "example.com",
                "\"example.com\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not \
                 looked up)",
            ),
            (
                "::ffff:10.0.0.0/104",
                "\"::ffff:10.0.0.0/104\" is an IPv4 address in IPv6 form (write 10.0.0.0/8)",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted, "{text}");
        }
        assert_eq!(
            parse_strict("10.0.0.5/24").unwrap_err().to_string(),
            "10.0.0.5/24 has bits set beyond its prefix (write 10.0.0.0/24)"
        );
        assert_eq!(parse("10.0.0.5/24").unwrap().to_string(), "10.0.0.5/24");
    }
}
