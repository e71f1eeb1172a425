//! Published ports in the forms of `docker run -p`.

use std::net::IpAddr;

use super::port::{range, split_protocol};
use super::{TextError, cidr};
use crate::model::{PortRange, Protocol, Publish};

/// Reads `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, where both ports may be ranges of equal length, and an IPv6 address
/// stands in brackets. Without a host port a free one is chosen; of a range for one container port, a free one of it.
pub fn parse(text: &str) -> Result<Publish, TextError> {
    let (ports, protocol) = split_protocol(text)?;
    let (host_ip, ports) = split_address(ports)?;
    let (host, container) = match (ports.rsplit_once(':'), host_ip) {
        (Some((host, container)), _) => (host, container),
        (None, Some(_)) => {
            let message = format!("{text:?} has an address, but no host port");
            return Err(TextError::with_help(
                message,
                "write IP:HOST:CONTAINER, or IP::CONTAINER for a free port",
            ));
        }
        (None, None) => ("", ports),
    };
    let host_ip = host_ip.map(cidr::parse_address).transpose()?;
    let host = if host.is_empty() { None } else { Some(host_range(host)?) };
    new(host_ip, host, range(container)?, protocol)
}

/// Makes a published port of its parts, if they fit together. The addresses `0.0.0.0` and `::` mean what no address
/// means: every address of both families.
pub fn new(
    host_ip: Option<IpAddr>,
    host: Option<PortRange>,
    container: PortRange,
    protocol: Protocol,
) -> Result<Publish, TextError> {
    if protocol == Protocol::Sctp {
        return Err(TextError::with_help("sctp cannot be published", "publish tcp or udp"));
    }
    if let Some(host) = host
        && host.count() != container.count()
        && container.count() != 1
    {
        let message =
            format!("{} host ports cannot lead to {} container ports", host.count(), container.count());
        return Err(TextError::with_help(message, "make both ranges equally long"));
    }
    if host_ip.is_some_and(|ip| ip.is_multicast()) {
        return Err(TextError::new("a multicast address cannot publish"));
    }
    let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
    Ok(Publish { host_ip, host, container, protocol, from: Vec::new(), bindable: false })
}

/// Reads the host's ports.
pub fn host_range(text: &str) -> Result<PortRange, TextError> {
    if text == "0" {
        return Err(TextError::with_help("0 is not a port", "leave the host port out for a free one"));
    }
    range(text)
}

/// Splits off the address, which stands in brackets or before the second `:` from the end.
fn split_address(text: &str) -> Result<(Option<&str>, &str), TextError> {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once("]:") {
            Some((address, ports)) => Ok((Some(address), ports)),
            None => Err(TextError::with_help(
                format!("{text:?} has a `[` without `]:`"),
                "write [IPv6]:HOST:CONTAINER",
            )),
        };
    }
    let Some((rest, _)) = text.rsplit_once(':') else { return Ok((None, text)) };
    match rest.rsplit_once(':') {
        Some((address, _)) if address.contains(':') => Err(TextError::with_help(
            format!("{text:?} has too many colons"),
            "write an IPv6 address in brackets: [IPv6]:HOST:CONTAINER",
        )),
        Some((address, _)) => Ok((Some(address), &text[address.len() + 1..])),
        None => Ok((None, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(publish: &Publish) -> String {
        let ip = publish.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
        let host = publish.host.map_or("?".to_owned(), |host| host.to_string());
        format!("{ip} {host} {} {}", publish.container, publish.protocol)
    }

    #[test]
    fn every_form_of_docker_is_read() {
        for (text, wanted) in [
            ("80", "* ? 80 tcp"),
            ("80/udp", "* ? 80 udp"),
            ("80-82", "* ? 80-82 tcp"),
            ("8080:80", "* 8080 80 tcp"),
            ("8080:80/TCP", "* 8080 80 tcp"),
            (":80", "* ? 80 tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080 80 tcp"),
            ("127.0.0.1::80/udp", "127.0.0.1 ? 80 udp"),
            ("0.0.0.0:8080:80", "* 8080 80 tcp"),
            ("[::]:8080:80", "* 8080 80 tcp"),
            ("[::1]:8080:80", "::1 8080 80 tcp"),
            ("[fd00::1]::80", "fd00::1 ? 80 tcp"),
            ("8000-8010:8000-8010", "* 8000-8010 8000-8010 tcp"),
            ("127.0.0.1::8000-8010", "127.0.0.1 ? 8000-8010 tcp"),
            ("8000-8010:80", "* 8000-8010 80 tcp"),
            ("[::1]:8000-8010:80/udp", "::1 8000-8010 80 udp"),
            ("10.0.0.1:8000-8001:80-81/udp", "10.0.0.1 8000-8001 80-81 udp"),
        ] {
            assert_eq!(show(&parse(text).unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn wrong_forms_are_explained() {
        for (text, wanted) in [
            ("", "\"\" is not a port (write a number from 1 to 65535)"),
            ("web", "\"web\" is not a port (write a number from 1 to 65535)"),
            ("0:80", "0 is not a port (leave the host port out for a free one)"),
            ("80:0", "port 0 is not between 1 and 65535"),
            ("70000:80", "port 70000 is not between 1 and 65535"),
            ("8080:80/sctp", "sctp cannot be published (publish tcp or udp)"),
            ("8080:80/icmp", "\"icmp\" is not a protocol (use tcp, udp or sctp)"),
            ("8080:", "\"\" is not a port (write a number from 1 to 65535)"),
            (
                "8000-8010:80-81",
                "11 host ports cannot lead to 2 container ports (make both ranges equally long)",
            ),
            ("8010-8000:80-90", "the range 8010-8000 ends before it begins (write 8000-8010)"),
            ("localhost:80:80", "\"localhost\" is not an address"),
            (
                "::1:80:80",
                "\"::1:80:80\" has too many colons (write an IPv6 address in brackets: [IPv6]:HOST:CONTAINER)",
            ),
            ("[::1:80:80", "\"[::1:80:80\" has a `[` without `]:` (write [IPv6]:HOST:CONTAINER)"),
            (
                "[::1]:80",
                "\"[::1]:80\" has an address, but no host port (write IP:HOST:CONTAINER, or IP::CONTAINER for a free port)",
            ),
            ("224.0.0.1:80:80", "a multicast address cannot publish"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
