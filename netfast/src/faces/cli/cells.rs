//! Parts of a view as the text of table cells.

use crate::model::Labels;
use crate::reconcile::view::{DirectionView, EndpointView, NamedPortView, PortView};

/// A value, or nothing.
pub(super) fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// The values that are there, in one cell.
pub(super) fn both(one: Option<impl ToString>, other: Option<impl ToString>) -> String {
    with_more(one, other, std::iter::empty::<&str>())
}

/// The same, with others behind them.
pub(super) fn with_more(
    one: Option<impl ToString>,
    other: Option<impl ToString>,
    more: impl IntoIterator<Item = impl ToString>,
) -> String {
    let present = [one.map(|value| value.to_string()), other.map(|value| value.to_string())];
    let more = more.into_iter().map(|value| value.to_string());
    present.into_iter().flatten().chain(more).collect::<Vec<_>>().join(", ")
}

/// All addresses of an endpoint.
pub(super) fn addresses(endpoint: &EndpointView) -> String {
    with_more(endpoint.ip, endpoint.ip6, &endpoint.more)
}

/// An endpoint's name as it can be given to other commands: with its namespace where that is not the default one.
pub(super) fn endpoint_name(endpoint: &EndpointView) -> String {
    let EndpointView { name, namespace, .. } = endpoint;
    if namespace == "default" { name.clone() } else { format!("{namespace}/{name}") }
}

/// An amount of memory.
pub(super) fn memory(bytes: u64) -> String {
    if bytes < 1 << 20 {
        return format!("{} KiB", bytes.div_ceil(1 << 10));
    }
    // Tenths, rounded up.
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Labels as `key=value`.
pub(super) fn labels(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// What a direction lets through: everything, or what some policies allow.
pub(super) fn direction(direction: &DirectionView) -> String {
    if direction.isolated { direction.policies.join(",") } else { "open".to_owned() }
}

/// A port of an endpoint as `name=80/tcp`.
pub(super) fn named_port(port: &NamedPortView) -> String {
    let NamedPortView { name, port, protocol } = port;
    match name {
        Some(name) => format!("{name}={port}/{protocol}"),
        None => format!("{port}/{protocol}"),
    }
}

/// The host's side of a published port as `8080/tcp` or `[::1]:8080/tcp`.
pub(super) fn host_port(port: &PortView) -> String {
    let PortView { host_ip, host, protocol, .. } = port;
    match host_ip {
        None => format!("{host}/{protocol}"),
        Some(ip) if ip.is_ipv6() => format!("[{ip}]:{host}/{protocol}"),
        Some(ip) => format!("{ip}:{host}/{protocol}"),
    }
}

/// The endpoint's side of a published port as `web:80`.
pub(super) fn endpoint_port(port: &PortView) -> String {
    format!("{}:{}", port.endpoint, port.container)
}

/// Who may use a published port; nothing: everybody.
pub(super) fn sources(port: &PortView) -> String {
    port.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether packets pass.
pub(super) fn readiness(ready: bool) -> String {
    if ready { "ready" } else { "not ready" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_like_options() {
        let mut port = PortView {
            host_ip: None,
            host: "8080".to_owned(),
            protocol: "tcp",
            endpoint: "shop/web".to_owned(),
            container: "80".to_owned(),
            from: Vec::new(),
        };
        assert_eq!((host_port(&port), endpoint_port(&port)), ("8080/tcp".into(), "shop/web:80".into()));
        port.host_ip = "::1".parse().ok();
        assert_eq!(host_port(&port), "[::1]:8080/tcp");
        port.host_ip = "127.0.0.1".parse().ok();
        assert_eq!(host_port(&port), "127.0.0.1:8080/tcp");
        let named = NamedPortView { name: Some("http".to_owned()), port: 80, protocol: "tcp" };
        assert_eq!(named_port(&named), "http=80/tcp");
    }

    #[test]
    fn an_isolated_direction_names_its_policies() {
        let mut view = DirectionView::default();
        assert_eq!(direction(&view), "open");
        view.isolated = true;
        view.policies = vec!["default/a".to_owned(), "default/b".to_owned()];
        assert_eq!(direction(&view), "default/a,default/b");
        assert_eq!(both(None::<u8>, Some(1)), "1");
    }
}
