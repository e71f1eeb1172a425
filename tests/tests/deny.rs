//! The deny list: what comes from there goes nowhere, whatever the driver and whoever else uses XDP.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6, TcpServer, require_root};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {publish: ['8080:80']}
";

fn lab() -> (Lab, Vec<TcpServer>) {
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let servers = vec![web.tcp_serve("[::]:80").unwrap(), lab.host.tcp_serve("[::]:22").unwrap()];
    (lab, servers)
}

/// Whether the outside gets no answer at all from an address of the host, or every answer.
#[track_caller]
fn denied(lab: &Lab, address: &str, wanted: bool) {
    let plain = address.trim_matches(['[', ']']);
    let patience = if wanted { SHORT } else { SECOND };
    // Whoever was denied could not ask for its neighbour's MAC either, and would not try again for a while.
    lab.outside.ip("neigh flush all").unwrap();
    let answers = [
        lab.outside.ping(plain, patience).is_ok(),
        lab.outside.tcp_ask(&format!("{address}:22"), patience).is_ok(),
        lab.outside.tcp_ask(&format!("{address}:8080"), patience).is_ok(),
    ];
    assert_eq!(answers, [!wanted; 3], "ping, the host and the published port at {address}");
}

/// The hooks of the deny list's programs, by device.
fn hooks(lab: &Lab) -> Vec<(String, String)> {
    let status = lab.netfast_json(&["status"]).unwrap();
    let links = status["links"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ours = links.iter().filter(|link| link["program"] == "deny_xdp");
    ours.map(|link| (text(&link["target"]), text(&link["hook"]))).collect()
}

/// How the deny list is enforced at an uplink.
fn enforced(lab: &Lab, device: &str) -> Option<String> {
    let status = lab.netfast_json(&["status"]).unwrap();
    let mut uplinks = status["uplinks"].as_array().unwrap().iter();
    let uplink = uplinks.find(|uplink| uplink["device"] == device).unwrap();
    uplink["deny"].as_str().map(str::to_owned)
}

fn has_xdp(lab: &Lab, device: &str) -> bool {
    lab.host.ip(&format!("link show dev {device}")).unwrap().contains("xdp")
}

#[test]
fn a_denied_source_gets_nowhere_until_it_is_removed() {
    require_root!();
    let (lab, _servers) = lab();
    let v6 = format!("[{HOST_V6}]");
    for address in [HOST_V4, &v6] {
        denied(&lab, address, false);
    }
    assert_eq!((enforced(&lab, "uplink0"), has_xdp(&lab, "uplink0")), (None, false));

    lab.netfast_ok(&["deny", "add", OUTSIDE_V4]).unwrap();
    denied(&lab, HOST_V4, true);
    denied(&lab, &v6, false);
    lab.netfast_ok(&["deny", "add", "2001:db8:99::/64"]).unwrap();
    denied(&lab, HOST_V4, true);
    denied(&lab, &v6, true);
    assert_eq!(hooks(&lab), [("uplink0".to_owned(), "xdp-native".to_owned())]);
    assert_eq!(enforced(&lab, "uplink0").as_deref(), Some("xdp-native"));
    assert!(has_xdp(&lab, "uplink0"));
    // Other addresses on the same wire are not concerned.
    lab.outside.address("eth0", "192.0.2.3/24").unwrap();
    let from = Some("192.0.2.3:4000".parse().unwrap());
    lab.outside.tcp_connect_from(from, &format!("{HOST_V4}:8080"), SECOND).unwrap().ask().unwrap();
    let status = lab.netfast_json(&["status"]).unwrap();
    assert!(status["counters"]["drops"]["denied_source"]["packets"].as_u64().unwrap() >= 6);

    lab.netfast_ok(&["deny", "rm", OUTSIDE_V4]).unwrap();
    denied(&lab, HOST_V4, false);
    denied(&lab, &v6, true);
    assert!(has_xdp(&lab, "uplink0"));
    lab.netfast_ok(&["deny", "rm", "2001:db8:99::/64"]).unwrap();
    denied(&lab, &v6, false);
    assert_eq!((enforced(&lab, "uplink0"), hooks(&lab), has_xdp(&lab, "uplink0")), (None, vec![], false));
}

#[test]
fn living_connections_end_too() {
    require_root!();
    let (lab, _servers) = lab();
    let mut through = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SHORT).unwrap();
    let mut to_host = lab.outside.tcp_connect(&format!("{HOST_V4}:22"), SHORT).unwrap();
    through.ask().unwrap();
    to_host.ask().unwrap();
    lab.netfast_ok(&["deny", "add", OUTSIDE_V4]).unwrap();
    assert!(through.ask().is_err());
    assert!(to_host.ask().is_err());
}

#[test]
fn where_somebody_else_uses_xdp_it_is_done_by_tcx() {
    require_root!();
    let (lab, _servers) = lab();
    let theirs = lab.host.occupy_xdp("uplink0").unwrap();
    lab.netfast_ok(&["deny", "add", OUTSIDE_V4, OUTSIDE_V6]).unwrap();
    let v6 = format!("[{HOST_V6}]");
    for address in [HOST_V4, &v6] {
        denied(&lab, address, true);
    }
    assert_eq!((enforced(&lab, "uplink0").as_deref(), hooks(&lab)), (Some("tcx"), vec![]));
    // The next change takes the slot that has become free, and the denied stay denied.
    drop(theirs);
    lab.up(MANIFEST).unwrap();
    assert_eq!(enforced(&lab, "uplink0").as_deref(), Some("xdp-native"));
    denied(&lab, HOST_V4, true);
    lab.netfast_ok(&["deny", "rm", OUTSIDE_V4, OUTSIDE_V6]).unwrap();
    for address in [HOST_V4, &v6] {
        denied(&lab, address, false);
    }
}

#[test]
fn where_the_driver_has_no_xdp_it_is_generic() {
    require_root!();
    let lab = Lab::new().unwrap();
    // A bridge has no XDP of its own.
    lab.host.join("port1", &lab.outside, "eth1").unwrap();
    lab.host.ip("link add br0 type bridge").unwrap();
    lab.host.ip("link set port1 master br0").unwrap();
    lab.host.ip("link set br0 up").unwrap();
    lab.host.address("br0", "203.0.113.1/24").unwrap();
    lab.outside.address("eth1", "203.0.113.2/24").unwrap();
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let _servers = [web.tcp_serve("[::]:80").unwrap(), lab.host.tcp_serve("[::]:22").unwrap()];
    denied(&lab, "203.0.113.1", false);
    lab.netfast_ok(&["deny", "add", "203.0.113.0/24"]).unwrap();
    assert_eq!(enforced(&lab, "br0").as_deref(), Some("xdp-generic"));
    assert_eq!(enforced(&lab, "uplink0").as_deref(), Some("xdp-native"));
    denied(&lab, "203.0.113.1", true);
    denied(&lab, HOST_V4, false);
    lab.down().unwrap();
    assert!(!has_xdp(&lab, "br0") && !has_xdp(&lab, "uplink0"));
    lab.outside.ping("203.0.113.1", SECOND).unwrap();
}
