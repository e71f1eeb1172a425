//! `netfast flow`, `netfast policy apply` and `established: keep`, by what packets do.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, require_root, udp_ask_on};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {labels: {app: web}, publish: ['8080:80']}
  client: {labels: {role: client}}
";

/// Nobody reaches `web`.
const CLOSED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
";

/// Clients do.
const OPEN: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]
";

struct World {
    lab: Lab,
    web: Ns,
    client: Ns,
    server: String,
    _tcp: Box<dyn Send>,
    _udp: Box<dyn Send>,
}

fn world(more: &str) -> World {
    let lab = Lab::new().unwrap();
    lab.up(&format!("{MANIFEST}{more}")).unwrap();
    let [web, client] = ["web", "client"].map(|name| lab.endpoint_ns(name).unwrap());
    let address = lab.addresses("web").unwrap()[0];
    let tcp = web.tcp_serve("[::]:80").unwrap();
    let udp = web.udp_serve(&format!("{address}:53")).unwrap();
    World { web, client, server: address.to_string(), _tcp: Box::new(tcp), _udp: Box::new(udp), lab }
}

fn flows(lab: &Lab, args: &[&str]) -> Vec<Value> {
    let view = lab.netfast_json(&[&["flow", "ls"], args].concat()).unwrap();
    view["flows"].as_array().unwrap().clone()
}

#[test]
fn flows_are_listed_with_names_states_and_translations() {
    require_root!();
    let world = world("");
    let lab = &world.lab;
    let mut published = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SECOND).unwrap();
    published.ask().unwrap();
    let mut inside = world.client.tcp_connect(&format!("{}:80", world.server), SECOND).unwrap();
    inside.ask().unwrap();
    let _echo = lab.outside.udp_serve(&format!("{OUTSIDE_V4}:53")).unwrap();
    let outward = world.client.udp_connect(None, &format!("{OUTSIDE_V4}:53")).unwrap();
    udp_ask_on(&outward, 10, SECOND).unwrap();
    world.client.ping(&lab.addresses("web").unwrap()[1].to_string(), SECOND).unwrap();

    let of = |args: &[&str]| {
        let found = flows(lab, args);
        assert_eq!(found.len(), 1, "{args:?}: {found:?}");
        found[0].clone()
    };
    let flow = of(&["--port", "8080"]);
    assert_eq!((&flow["state"], &flow["protocol"]), (&"established".into(), &"tcp".into()));
    assert_eq!(
        (&flow["originator"]["kind"], &flow["originator"]["addr"]),
        (&"outside".into(), &OUTSIDE_V4.into())
    );
    assert_eq!(
        (&flow["responder"]["endpoint"], &flow["responder"]["addr"]),
        (&"web".into(), &HOST_V4.into())
    );
    assert_eq!(flow["destination_nat"], serde_json::json!({"addr": world.server, "port": 80}));
    assert_eq!((&flow["source_nat"], &flow["current"]), (&Value::Null, &true.into()));
    assert!(flow["replied"]["packets"].as_u64().unwrap() >= 2, "{flow}");
    assert!(flow["left_ns"].as_u64().unwrap() > 7_000_000_000_000, "{flow}");

    let flow = of(&["--endpoint", "client", "--addr", "192.0.2.0/24", "--protocol", "udp"]);
    assert_eq!((&flow["state"], &flow["responder"]["kind"]), (&"replied".into(), &"outside".into()));
    assert_eq!(flow["source_nat"]["addr"], HOST_V4);
    udp_ask_on(&outward, 10, SECOND).unwrap();
    assert_eq!(of(&["--state", "established", "--protocol", "17"])["sent"]["packets"], 2);

    let flow = of(&["--protocol", "icmpv6", "--endpoint", "web"]);
    assert_eq!(
        (&flow["originator"]["endpoint"], &flow["responder"]["port"]),
        (&"client".into(), &Value::Null)
    );

    drop(inside);
    let flow = of(&["--endpoint", "client", "--protocol", "tcp"]);
    assert!(["closing", "closed"].contains(&flow["state"].as_str().unwrap()), "{flow}");

    let table = lab.netfast_json(&["flow", "ls"]).unwrap()["table"].clone();
    assert_eq!((&table["evicted"], &table["flushed"]), (&0.into(), &0.into()), "{table}");
    let text = lab.netfast_ok(&["flow", "ls", "--port", "8080"]).unwrap();
    assert!(text.contains(&format!("web {HOST_V4}:8080  to {}:80", world.server)), "{text}");
    assert!(lab.netfast_ok(&["status"]).unwrap().contains("of 131072 settled"));
}

#[test]
fn a_connection_by_the_same_ports_takes_over_the_entries_of_the_one_before() {
    require_root!();
    let world = world("");
    let lab = &world.lab;
    let _out4 = lab.outside.tcp_serve(&format!("{OUTSIDE_V4}:80")).unwrap();
    let _out6 = lab.outside.tcp_serve(&format!("[{OUTSIDE_V6}]:80")).unwrap();
    let [web4, web6] = lab.addresses("web").unwrap()[..] else { panic!("of both families") };
    let made = || lab.netfast_json(&["flow", "ls"]).unwrap()["table"]["made"].as_u64().unwrap();
    for (from, to) in [
        (&world.client, format!("{web4}:80")),
        (&world.client, format!("[{web6}]:80")),
        (&lab.outside, format!("{HOST_V4}:8080")),
        (&lab.outside, format!("[{HOST_V6}]:8080")),
        (&world.client, format!("{HOST_V4}:8080")),
        (&world.client, format!("{OUTSIDE_V4}:80")),
        (&world.client, format!("[{OUTSIDE_V6}]:80")),
    ] {
        let connects = |source: Option<SocketAddr>| {
            let mut connection = from.tcp_connect_from(source, &to, 10 * SECOND).unwrap();
            let reply = connection.ask().unwrap();
            let source = connection.local().unwrap();
            connection.abort().unwrap();
            (source, reply.seen_source)
        };
        let (source, seen) = connects(None);
        let before = made();
        for _ in 0..5 {
            assert_eq!(connects(Some(source)), (source, seen), "{to}: seen by the same address and port");
        }
        assert_eq!(made(), before, "{to}");
        let port = source.port().to_string();
        // A process that another test starts may hold the connection a moment longer.
        let deadline = Instant::now() + 10 * SECOND;
        let flow = loop {
            let [flow] = &flows(lab, &["--port", &port])[..] else { panic!("one flow of {source}") };
            if flow["state"] == "closed" || Instant::now() > deadline {
                break flow.clone();
            }
        };
        assert_eq!(flow["state"], "closed", "{flow}");
        let packets = flow["sent"]["packets"].as_u64().unwrap();
        assert!((4..10).contains(&packets), "of the last connection only: {flow}");
    }
}

#[test]
fn flushed_flows_are_gone_and_counted() {
    require_root!();
    let world = world("");
    let lab = &world.lab;
    let mut published: Vec<_> = [HOST_V4.to_owned(), format!("[{HOST_V6}]")]
        .iter()
        .map(|host| lab.outside.tcp_connect(&format!("{host}:8080"), SECOND).unwrap())
        .collect();
    let mut inside = world.client.tcp_connect(&format!("{}:80", world.server), SECOND).unwrap();
    inside.ask().unwrap();
    for conversation in &mut published {
        conversation.ask().unwrap();
    }

    let refused = lab.netfast(&["flow", "flush"]).unwrap();
    assert!(!refused.success() && refused.stderr.contains("--all"), "{}", refused.stderr);
    assert_eq!(lab.netfast_ok(&["flow", "flush", "--port", "8080"]).unwrap(), "2 flows forgotten\n");
    let view = lab.netfast_json(&["flow", "ls"]).unwrap();
    assert_eq!((&view["table"]["flushed"], &view["table"]["evicted"]), (&4.into(), &0.into()), "{view}");
    assert_eq!(view["table"]["settled"], 1, "{view}");
    // Mid-way, and judged as first packets.
    for conversation in &mut published {
        conversation.ask().unwrap();
    }
    inside.ask().unwrap();
    assert_eq!(flows(lab, &["--port", "8080"]).len(), 2);

    let closed = lab.file("closed.yaml", CLOSED).unwrap();
    // In this order: an acknowledgement that comes late would be recorded while policies allow it.
    lab.netfast_ok(&["policy", "apply", &closed]).unwrap();
    lab.netfast_ok(&["flow", "flush", "--all"]).unwrap();
    assert_eq!(inside.ask().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(flows(lab, &["--all", "--endpoint", "client"]).len(), 0, "nothing is recorded of it");
    let unknown = lab.netfast(&["flow", "flush", "--endpoint", "nobody"]).unwrap();
    assert!(unknown.stderr.contains("no endpoint is called nobody"), "{}", unknown.stderr);
}

#[test]
fn applied_policies_hold_for_the_first_packet_and_for_living_flows() {
    require_root!();
    let world = world("");
    let lab = &world.lab;
    let [closed, open] =
        [("closed.yaml", CLOSED), ("open.yaml", OPEN)].map(|(name, text)| lab.file(name, text).unwrap());
    let server = format!("{}:80", world.server);
    assert_eq!(lab.netfast_ok(&["policy", "apply", &closed]).unwrap(), "1 policy in force\n");
    assert_eq!(world.client.tcp_ask(&server, SHORT).unwrap_err().kind(), ErrorKind::TimedOut);

    lab.netfast_ok(&["policy", "apply", &open]).unwrap();
    // One datagram, which nobody sends again.
    let flow = world.client.udp_connect(None, &format!("{}:53", world.server)).unwrap();
    udp_ask_on(&flow, 10, SECOND).unwrap();
    let mut living = world.client.tcp_connect(&server, SECOND).unwrap();
    living.ask().unwrap();
    assert_eq!(flows(lab, &["--endpoint", "client"])[0]["current"], true);
    // The outside is no client.
    assert!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SHORT).is_err());

    lab.netfast_ok(&["policy", "apply", &closed]).unwrap();
    assert_eq!(flows(lab, &["--endpoint", "client"])[0]["current"], false);
    assert!(udp_ask_on(&flow, 10, SHORT).is_err(), "cut with its first packet");
    assert_eq!(living.ask().unwrap_err().kind(), ErrorKind::TimedOut);

    // A mistake changes nothing.
    lab.netfast_ok(&["policy", "apply", &open]).unwrap();
    let bad = lab.file("bad.yaml", "kind: NetworkPolicy\n").unwrap();
    let checked = lab.netfast(&["policy", "check", &bad]).unwrap();
    let failed = lab.netfast(&["policy", "apply", &closed, &bad]).unwrap();
    let first = checked.stdout.lines().next().unwrap();
    assert!(failed.stderr.starts_with(first), "{}", failed.stderr);
    assert_eq!(failed.status.code(), Some(1));
    udp_ask_on(&flow, 10, SECOND).unwrap();

    // `up` reads the policies of its file again: there are none.
    lab.up(MANIFEST).unwrap();
    assert!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).is_ok());
    drop(world.web);
}

#[test]
fn kept_flows_outlive_the_policies_that_allowed_them() {
    require_root!();
    let world = world("established: keep\n");
    let lab = &world.lab;
    let closed = lab.file("closed.yaml", CLOSED).unwrap();
    let server = format!("{}:80", world.server);
    let mut living = world.client.tcp_connect(&server, SECOND).unwrap();
    let mut published = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SECOND).unwrap();
    living.ask().unwrap();
    published.ask().unwrap();
    let flow = world.client.udp_connect(None, &format!("{}:53", world.server)).unwrap();
    udp_ask_on(&flow, 10, SECOND).unwrap();

    lab.netfast_ok(&["policy", "apply", &closed]).unwrap();
    living.swap(100_000).unwrap();
    published.swap(100_000).unwrap();
    udp_ask_on(&flow, 10, SECOND).unwrap();
    assert_eq!(world.client.tcp_ask(&server, SHORT).unwrap_err().kind(), ErrorKind::TimedOut, "a new one");

    // Where the deny list is looked up in tc, a bit of the same word says so.
    let theirs = lab.host.occupy_xdp("uplink0").unwrap();
    lab.netfast_ok(&["deny", "add", OUTSIDE_V6]).unwrap();
    living.ask().unwrap();
    lab.netfast_ok(&["policy", "apply", &closed]).unwrap();
    assert!(lab.outside.ping(HOST_V6, SHORT).is_err());
    lab.netfast_ok(&["deny", "rm", OUTSIDE_V6]).unwrap();
    lab.outside.ping(HOST_V6, SECOND).unwrap();
    living.ask().unwrap();
    drop(theirs);

    // The published port goes, and so does its flow; the other stays.
    let without = MANIFEST.replace("publish: ['8080:80']", "ports: [80]");
    lab.up(&format!("{without}established: keep\npolicies: [closed.yaml]\n")).unwrap();
    assert!(published.ask().is_err());
    living.ask().unwrap();

    lab.up(&format!("{without}established: recheck\npolicies: [closed.yaml]\n")).unwrap();
    assert_eq!(living.ask().unwrap_err().kind(), ErrorKind::TimedOut, "judged again");
}

#[test]
fn without_an_instance_they_say_so() {
    require_root!();
    let lab = Lab::new().unwrap();
    let open = lab.file("open.yaml", OPEN).unwrap();
    for args in [&["flow", "ls"][..], &["flow", "flush", "--all"], &["policy", "apply", &open]] {
        let done = lab.netfast(args).unwrap();
        assert_eq!(done.status.code(), Some(1));
        assert!(done.stderr.contains("up (netfast up -f FILE brings it up)"), "{args:?}: {}", done.stderr);
    }
    assert_eq!(lab.leftovers().unwrap(), [""; 0]);
}
