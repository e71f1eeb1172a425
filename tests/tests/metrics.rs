//! Metrics for Prometheus: what they count is what happened.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use netfast_tests::{Lab, Ns, require_root};
use nix::sys::signal::Signal;
use socket2::{Domain, Type};

const SECOND: Duration = Duration::from_secs(1);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {labels: {app: web}, publish: ['8080:80']}
  client: {}
policies: [closed.yaml]
";

const CLOSED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: web}}}
";

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    lab.file("closed.yaml", CLOSED).unwrap();
    lab.up(MANIFEST).unwrap();
    lab
}

/// The value of a metric, with its labels as they are written.
fn value(text: &str, metric: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

/// Asks by HTTP, inside a namespace; head and body of what is answered.
fn http(ns: &Ns, address: &str, request: &str) -> (String, String) {
    let socket = ns.socket(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    socket.connect_timeout(&address.into(), 5 * SECOND).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(20 * SECOND)).unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn they_count_what_happened() {
    require_root!();
    let lab = lab();
    let client = lab.endpoint_ns("client").unwrap();
    let web = lab.addresses("web").unwrap()[0];
    let metrics = || lab.netfast_ok(&["metrics"]).unwrap();
    let dropped = [
        "netfast_dropped_packets_total{reason=\"policy_ingress\"}",
        "netfast_endpoint_dropped_packets_total{namespace=\"default\",endpoint=\"web\",reason=\"policy_ingress\"}",
    ];
    let before = metrics();
    for metric in dropped {
        assert_eq!(value(&before, metric).unwrap_or_default(), 0, "{before}");
    }
    let socket = client.udp_connect(None, &format!("{web}:53")).unwrap();
    for _ in 0..7 {
        socket.send(b"?").unwrap();
    }
    let after = metrics();
    for metric in dropped {
        assert_eq!(value(&after, metric), Some(7), "{after}");
    }
    for (metric, wanted) in [
        ("netfast_up", 1),
        ("netfast_problems", 0),
        ("netfast_policies", 1),
        ("netfast_endpoint_ready{namespace=\"default\",endpoint=\"client\"}", 1),
    ] {
        assert_eq!(value(&after, metric), Some(wanted), "{metric}: {after}");
    }
    assert!(value(&after, "netfast_map_bytes{map=\"NF_FLOW\"}").unwrap() > 1 << 20, "{after}");
    assert!(after.ends_with("# EOF\n"), "{after}");
    // Each line is of the format: a comment, or a name, labels and a number.
    for line in after.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("netfast_") && number.parse::<f64>().is_ok(), "{line}");
    }
    lab.down().unwrap();
    assert_eq!(value(&metrics(), "netfast_up"), Some(0));
}

#[test]
fn they_are_served_by_http() {
    require_root!();
    let lab = lab();
    let mut server = lab.start(&["metrics", "--listen", "127.0.0.1:9477"]).unwrap();
    server.wait_for("metrics are at http://127.0.0.1:9477/metrics", 10 * SECOND).unwrap();
    let address = "127.0.0.1:9477";
    let (head, body) = http(&lab.host, address, "GET /metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics-text"), "{head}");
    assert_eq!(value(&body, "netfast_up"), Some(1), "{body}");
    for (request, status) in
        [("GET /", "404"), ("POST /metrics", "405"), ("HEAD /metrics", "200"), ("GET /metrics", "200")]
    {
        let (head, _) = http(&lab.host, address, request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
    }
    // It looks anew each time.
    lab.down().unwrap();
    assert_eq!(value(&http(&lab.host, address, "GET /metrics").1, "netfast_up"), Some(0));

    let taken = lab.netfast(&["metrics", "--listen", address]).unwrap();
    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    assert!(taken.stderr.contains("listen on 127.0.0.1:9477"), "{taken:?}");
    server.signal(Signal::SIGINT).unwrap();
    assert!(server.finish(10 * SECOND).unwrap().success());
}
