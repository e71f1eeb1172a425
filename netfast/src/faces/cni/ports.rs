//! `portMappings`: ports of the host that lead to the container.

use std::net::IpAddr;

use super::config::PortMapping;
use super::failure::{Code, Failure, Result};
use crate::model::{PortRange, Protocol, Publish};

/// The ports to publish. Those without a host port are not meant for that, and one that is there twice is one.
pub(super) fn publish(mappings: &[PortMapping]) -> Result<Vec<Publish>> {
    let mut all: Vec<Publish> = Vec::new();
    for (index, mapping) in mappings.iter().enumerate().filter(|(_, mapping)| mapping.host_port != 0) {
        let publish = one(mapping).map_err(|failure| Failure {
            msg: format!("portMappings[{index}]: {}", failure.msg),
            ..failure
        })?;
        if !all.contains(&publish) {
            all.push(publish);
        }
    }
    Ok(all)
}

fn one(mapping: &PortMapping) -> Result<Publish> {
    Ok(Publish {
        host_ip: address(&mapping.host_ip)?,
        host: Some(port("hostPort", mapping.host_port)?),
        container: port("containerPort", mapping.container_port)?,
        protocol: protocol(&mapping.protocol)?,
        from: Vec::new(),
    })
}

fn protocol(text: &str) -> Result<Protocol> {
    match text.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        other => Err(Failure::new(
            Code::Unsupported,
            format!("protocol is {other:?}; netfast publishes tcp and udp"),
        )),
    }
}

fn port(field: &str, number: i64) -> Result<PortRange> {
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(PortRange::single(port)),
        _ => Err(wrong(format!("{field} is {number}, which is no port"))),
    }
}

/// The host's address; `None`: all of them.
fn address(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr =
        text.parse().map_err(|_| wrong(format!("hostIP is {text:?}, which is no address")))?;
    Ok(Some(address.to_canonical()).filter(|address| !address.is_unspecified()))
}

fn wrong(message: String) -> Failure {
    Failure::new(Code::Config, message)
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    fn read(mappings: &str) -> Result<Vec<Publish>> {
        let config = format!(r#","runtimeConfig": {{"portMappings": {mappings}}}"#);
        publish(&call(&[], &config).config.said.runtime_config.port_mappings)
    }

    #[test]
    fn mappings_become_published_ports() {
        let ports = read(
            r#"[{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": "0.0.0.0"},
                {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "::1"},
                {"hostPort": 0, "containerPort": 99, "protocol": "sctp"},
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]"#,
        );
        let publish = |host_ip: &str, host, container, protocol| Publish {
            host_ip: host_ip.parse().ok(),
            host: Some(PortRange::single(host)),
            container: PortRange::single(container),
            protocol,
            from: Vec::new(),
        };
        assert_eq!(
            ports.unwrap(),
            [publish("", 8080, 80, Protocol::Tcp), publish("::1", 5353, 53, Protocol::Udp)]
        );
    }

    #[test]
    fn what_cannot_be_published_is_named() {
        for (mapping, code, message) in [
            (
                r#""hostPort": 1, "containerPort": 2, "protocol": "SCTP""#,
                2,
                "protocol is \"sctp\"; netfast publishes tcp and udp",
            ),
            (r#""hostPort": 70000, "containerPort": 2"#, 7, "hostPort is 70000, which is no port"),
            (r#""hostPort": -1, "containerPort": 2"#, 7, "hostPort is -1, which is no port"),
            (r#""hostPort": 1, "containerPort": 0"#, 7, "containerPort is 0, which is no port"),
            (
                r#""hostPort": 1, "containerPort": 2, "hostIP": "host""#,
                7,
                "hostIP is \"host\", which is no address",
            ),
        ] {
            let failure = read(&format!("[{{{mapping}}}]")).unwrap_err();
            assert_eq!((failure.code, failure.msg), (code, format!("portMappings[0]: {message}")));
        }
    }
}
