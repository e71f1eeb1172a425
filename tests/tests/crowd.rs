//! More endpoints in a network than its bridge is to have ports: those that come later are none, and nobody sees a difference.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use netfast_tests::{Container, Lab, OUTSIDE_V4, Protocol, Ways, address, require_root};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);
/// Ports that a bridge is to have.
const PORTS: usize = 64;
const NONE: [String; 0] = [];

const NOTHING: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

/// Containers of one network, and what each was answered.
struct Crowd<'a> {
    lab: &'a Lab,
    there: Vec<(Container<'a>, Value)>,
}

impl<'a> Crowd<'a> {
    /// One of two more than a bridge has ports.
    fn new(lab: &'a Lab) -> Self {
        let mut crowd = Self { lab, there: Vec::new() };
        for number in 0..PORTS + 2 {
            crowd.add(&format!("c{number:02}"), &json!({}));
        }
        crowd
    }

    /// Adds one, by a configuration that says more.
    fn add(&mut self, id: &str, more: &Value) -> &(Container<'a>, Value) {
        let ranges = json!({"ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]}});
        let container = self.lab.plugin(&ranges).with(more).container(id).unwrap();
        let result = container.add().unwrap();
        self.there.push((container, result));
        self.there.last().unwrap()
    }

    fn del(&mut self, number: usize) {
        self.there.remove(number).0.del().unwrap();
    }

    fn first(&self) -> &(Container<'a>, Value) {
        self.there.first().unwrap()
    }

    fn last(&self) -> &(Container<'a>, Value) {
        self.there.last().unwrap()
    }
}

/// Where TCP of a container is asked, by either family.
fn at(result: &Value) -> [String; 2] {
    [format!("{}:80", address(result, 4).unwrap()), format!("[{}]:80", address(result, 6).unwrap())]
}

/// The ports of a bridge that are hosts' ends of endpoints.
fn ports(lab: &Lab) -> BTreeSet<String> {
    let listed = lab.host.ip("-o link show master nf-lab").unwrap();
    listed.lines().filter_map(|line| Some(line.split([' ', '@', ':']).nth(2)?.to_owned())).collect()
}

fn problems(lab: &Lab) -> Vec<String> {
    let status = lab.netfast_json(&["status"]).unwrap();
    status["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

/// Whether the program that leads from a bridge to endpoints is attached.
fn is_attached(lab: &Lab) -> bool {
    let status = lab.netfast_json(&["status"]).unwrap();
    status["links"].as_array().unwrap().iter().any(|link| link["program"] == "to_network")
}

/// The host's end of a container's device.
fn device(lab: &Lab, container: &Container<'_>) -> String {
    lab.inspect(&container.id).unwrap()["host_ifname"].as_str().unwrap().to_owned()
}

/// Sees that host, neighbours, outside and the container reach each other.
#[track_caller]
fn works(lab: &Lab, one: &(Container<'_>, Value), other: &(Container<'_>, Value)) {
    let _host = lab.host.tcp_serve("[::]:81").unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let _servers = [&one.0, &other.0].map(|container| container.ns.tcp_serve("[::]:80").unwrap());
    for (from, to) in [(one, other), (other, one)] {
        for address in at(&to.1) {
            assert_eq!(from.0.ns.tcp_ask(&address, PATIENCE).unwrap().by, to.0.id);
            assert_eq!(lab.host.tcp_ask(&address, PATIENCE).unwrap().by, to.0.id);
        }
        for gateway in ["10.77.0.1:81", "[fd77::1]:81"] {
            from.0.ns.tcp_ask(gateway, PATIENCE).unwrap();
        }
        from.0.ns.tcp_ask(&format!("{OUTSIDE_V4}:80"), PATIENCE).unwrap();
    }
}

#[test]
fn every_way_is_open() {
    require_root!();
    let ways = Ways::in_a_crowd(None).unwrap();
    for bridge in ["nf-lab", "nf-other", "nf-open"] {
        let listed = ways.lab.host.ip(&format!("-o link show master {bridge}")).unwrap();
        assert_eq!(listed.lines().count(), PORTS, "{bridge}");
    }
    ways.all(|way, family, protocol| {
        ways.reaches(way, family, protocol)?;
        let port = if way.is_published { 8080 } else { 80 };
        let to = std::net::SocketAddr::new(way.to[family].parse()?, port).to_string();
        match protocol {
            Protocol::Tcp => drop(ways.ns(way.from)?.tcp_stream(&to, 300_001, PATIENCE)?),
            // In pieces, which are put in order on the way.
            Protocol::Icmp => drop(ways.ns(way.from)?.ping_sized(way.to[family], 8_000, PATIENCE)?),
            Protocol::Udp => {}
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(problems(&ways.lab), NONE);
    ways.lab.down().unwrap();
    assert_eq!(ways.lab.leftovers().unwrap(), NONE);
}

#[test]
fn policies_are_kept() {
    require_root!();
    let ways = Ways::in_a_crowd(Some(NOTHING)).unwrap();
    ways.all(|way, family, protocol| {
        let Some(denier) = way.denied[0] else { return ways.reaches(way, family, protocol) };
        let before = ways.lab.dropped(denier, "policy_ingress")?;
        anyhow::ensure!(ways.ask(way, family, protocol, SHORT).is_err(), "answered");
        anyhow::ensure!(ways.lab.dropped(denier, "policy_ingress")? > before, "not counted");
        Ok(())
    })
    .unwrap();
}

#[test]
fn containers_come_and_go() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    let ports_then = ports(&lab);
    assert_eq!(ports_then.len(), PORTS);
    assert!(!ports_then.contains(&device(&lab, &crowd.last().0)));
    assert!(is_attached(&lab));
    works(&lab, crowd.first(), crowd.last());
    works(&lab, &crowd.there[PORTS], crowd.last());
    for (container, result) in [crowd.first(), crowd.last()] {
        container.check(result).unwrap().ok().unwrap();
    }
    // What the host sends is judged where it comes in, as anywhere.
    assert_eq!(problems(&lab), NONE);
    // A place that becomes free is somebody's again.
    crowd.del(0);
    let devices = [crowd.add("port", &json!({})).0.id.clone(), crowd.add("apart", &json!({})).0.id.clone()]
        .map(|id| lab.inspect(&id).unwrap()["host_ifname"].as_str().unwrap().to_owned());
    assert_eq!(devices.map(|device| ports(&lab).contains(&device)), [true, false]);
    // With the last one that is no port, what is there for those goes.
    for _ in 0..2 {
        assert!(is_attached(&lab));
        crowd.del(PORTS - 1);
    }
    crowd.there.pop().unwrap().0.del().unwrap();
    assert!(!is_attached(&lab));
    assert_eq!((ports(&lab).len(), crowd.there.len()), (PORTS, PORTS));
    crowd.add("again", &json!({}));
    works(&lab, crowd.first(), crowd.last());
    while !crowd.there.is_empty() {
        crowd.del(0);
    }
    assert!(!is_attached(&lab));
    assert_eq!(problems(&lab), NONE);
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_mac_address_that_the_runtime_was_told_of_is_taken_over() {
    require_root!();
    let lab = Lab::new().unwrap();
    let crowd = Crowd::new(&lab);
    let (container, mut told) = crowd.last().clone();
    container.ns.ip("link set eth0 address 02:11:22:33:44:55").unwrap();
    told["interfaces"][2]["mac"] = json!("02:11:22:33:44:55");
    assert_eq!(container.check(&told).unwrap().ok().unwrap(), "");
    works(&lab, crowd.first(), crowd.last());
    assert_eq!(problems(&lab), NONE);
}

/// Nobody has told netfast that the program at the bridge is gone, but whoever is added is to be reached.
#[test]
fn the_next_that_is_no_port_has_the_program_attached_again() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    let args = ["filter", "del", "dev", "nf-lab", "egress"];
    assert!(lab.host.finish("tc", &args, PATIENCE).unwrap().success());
    crowd.add("next", &json!({}));
    works(&lab, &crowd.there[PORTS], crowd.last());
    assert_eq!(problems(&lab), NONE);
}

/// Nothing but a pin tells then which bridge was netfast's.
#[test]
fn a_bridge_without_ports_is_found_though_records_are_lost() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    for _ in 1..PORTS {
        crowd.del(1);
    }
    let port = device(&lab, &crowd.first().0);
    assert_eq!(ports(&lab), BTreeSet::from([port.clone()]));
    lab.host.ip(&format!("link del {port}")).unwrap();
    for entry in std::fs::read_dir(lab.dir().join("run")).unwrap().map(|entry| entry.unwrap()) {
        let remove = if entry.path().is_dir() { std::fs::remove_dir_all } else { std::fs::remove_file };
        // A namespace is mounted there, by which it is known whose directory this is.
        if entry.file_name() != "netns" {
            remove(entry.path()).unwrap();
        }
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// A bridge without ports has no carrier, and says so to whoever asks.
#[test]
fn the_last_port_does_not_go() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    for _ in 0..PORTS {
        crowd.del(0);
    }
    assert_eq!(ports(&lab).len(), 1);
    assert!(lab.host.ip("link show nf-lab").unwrap().contains("LOWER_UP"));
    works(&lab, crowd.first(), crowd.last());
    assert_eq!(problems(&lab), NONE);
}

/// Whoever is held back at the host's end goes on from there by the bridge, to whomever.
#[test]
fn where_somebody_is_held_back_all_are_ports() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    let (last, result) = crowd.last();
    let server = last.ns.tcp_serve("[::]:80").unwrap();
    let mut open = at(result).map(|to| lab.host.tcp_connect(&to, PATIENCE).unwrap());
    crowd.add("slow", &json!({"redirect": false}));
    assert_eq!(ports(&lab).len(), PORTS + 3);
    for conversation in &mut open {
        conversation.ask().unwrap();
    }
    drop(server);
    works(&lab, &crowd.there[PORTS + 1], crowd.last());
    assert_eq!(problems(&lab), NONE);
    assert!(!is_attached(&lab));
    // Also whoever comes later.
    crowd.add("later", &json!({}));
    assert_eq!(ports(&lab).len(), PORTS + 4);
    works(&lab, &crowd.there[PORTS + 2], crowd.last());
    // As long as somebody is.
    crowd.del(PORTS + 2);
    crowd.add("next", &json!({}));
    assert_eq!(problems(&lab), NONE);
}

#[test]
fn what_is_broken_is_told_and_mended() {
    require_root!();
    let lab = Lab::new().unwrap();
    let crowd = Crowd::new(&lab);
    let apart = device(&lab, &crowd.last().0);
    let port = device(&lab, &crowd.first().0);
    let breaks = [
        (
            "tc filter del dev nf-lab egress".to_owned(),
            "network lab: to_network is not attached to its bridge".to_owned(),
        ),
        (
            format!("ip link set {apart} master nf-lab"),
            format!("endpoint {}: its device was made a port of a bridge", crowd.last().0.id),
        ),
        (
            format!("ip link set {port} nomaster"),
            format!("endpoint {}: its device is no port of the bridge any more", crowd.first().0.id),
        ),
    ];
    let index = |device: &str| {
        lab.host.ip(&format!("-o link show {device}")).unwrap().split(':').next().unwrap().to_owned()
    };
    let before = [&apart, &port].map(|device| index(device));
    for (command, told) in breaks {
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        let args: Vec<_> = words.collect();
        assert!(lab.host.finish(program, &args, PATIENCE).unwrap().success(), "{command}");
        let found = problems(&lab);
        assert!(found.contains(&told), "{command}: {found:?}");
        lab.up("networks: {}\n").unwrap();
        assert_eq!(problems(&lab), NONE, "{command}");
        works(&lab, crowd.first(), crowd.last());
    }
    // Nobody's device was made anew for that.
    assert_eq!([&apart, &port].map(|device| index(device)), before);
    assert_eq!(ports(&lab).len(), PORTS);
}

/// A bridge's MTU is that of the smallest of its ports, by which the host knows how much it may send there.
#[test]
fn whoever_has_a_smaller_mtu_is_a_port() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut topology = "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints:\n".to_owned();
    for number in 0..=PORTS {
        writeln!(topology, "  a{number:02}: {{}}").unwrap();
    }
    for by_command in [false, true] {
        if by_command {
            lab.up(&topology).unwrap();
            lab.netfast_ok(&["endpoint", "add", "small", "--mtu", "1400"]).unwrap();
        } else {
            lab.up(&format!("{topology}  small: {{mtu: 1400}}\n")).unwrap();
        }
        let small = lab.endpoint_ns("small").unwrap();
        let address = lab.inspect("small").unwrap()["ip"].as_str().unwrap().to_owned();
        let _server = small.udp_serve(&format!("{address}:53")).unwrap();
        lab.host.udp_ask_sized(&format!("{address}:53"), 1450, PATIENCE).unwrap();
        assert_eq!(ports(&lab).len(), PORTS + 1, "{by_command}");
        lab.netfast_ok(&["endpoint", "rm", "small"]).unwrap();
    }
}

#[test]
fn a_limit_of_bandwidth_is_kept() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    for direction in ["ingress", "egress"] {
        let (rate, burst) = (format!("{direction}Rate"), format!("{direction}Burst"));
        let limit = json!({"runtimeConfig": {"bandwidth": {rate: 8_000_000, burst: 800_000}}});
        crowd.add(direction, &limit);
        let (container, result) = crowd.last();
        assert!(!ports(&lab).contains(&device(&lab, container)));
        let _server = container.ns.tcp_serve("[::]:80").unwrap();
        for from in [&lab.host, &crowd.first().0.ns] {
            for address in at(result) {
                let took = from.tcp_stream(&address, 2_000_000, PATIENCE).unwrap();
                assert!(took > Duration::from_millis(1_500), "{direction}, {address}: {took:?}");
            }
        }
    }
    assert_eq!(problems(&lab), NONE);
}

/// Somebody holds packets back at a device, without a word to netfast.
#[test]
fn a_queue_that_comes_later_makes_ports_of_all() {
    require_root!();
    let ways = Ways::in_a_crowd(None).unwrap();
    let lab = &ways.lab;
    let device = lab.inspect("web").unwrap()["host_ifname"].as_str().unwrap().to_owned();
    assert!(!ports(lab).contains(&device));
    let status = lab.netfast_json(&["status"]).unwrap();
    if status["links"].as_array().unwrap().iter().any(|link| link["hook"] == "clsact") {
        eprintln!("skipped: before Linux 6.6 netfast's own filters take the place of such a queue");
        return;
    }
    let args = ["qdisc", "add", "dev", &device, "ingress"];
    assert!(lab.host.finish("tc", &args, PATIENCE).unwrap().success());
    lab.netfast_ok(&["endpoint", "add", "next", "--network", "lab"]).unwrap();
    assert_eq!(ports(lab).len(), PORTS + 3);
    ways.all(|way, family, protocol| ways.reaches(way, family, protocol)).unwrap();
    assert_eq!(problems(lab), NONE);
}

/// Calls a plugin that dies at a point it comes to; `false`: it comes to less.
fn dies(container: &Container<'_>, command: &str, point: usize) -> bool {
    let netns = container.ns.path().display().to_string();
    let point = point.to_string();
    let variables =
        [&container.variables(command, &netns)[..], &[("NETFAST_FAULT", point.as_str())]].concat();
    let answer = container.plugin().call_with(&variables, &container.plugin().config().to_string()).unwrap();
    if answer.code.is_some() {
        answer.ok().unwrap();
        return false;
    }
    true
}

/// Every third point, as all of them take minutes.
const STEP: usize = 3;

#[test]
fn whoever_dies_with_the_first_that_is_no_port_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    for _ in 0..2 {
        crowd.del(PORTS);
    }
    let before = lab.host.links().unwrap();
    for (command, first) in [("ADD", 1), ("DEL", 2)] {
        let mut died = 0;
        for point in (first..).step_by(STEP) {
            let plugin = crowd.first().0.plugin();
            let one = plugin.container("one").unwrap();
            if command == "DEL" {
                one.add().unwrap();
                assert!(is_attached(&lab));
            }
            let is_dead = dies(&one, command, point);
            one.del().unwrap();
            assert_eq!(lab.host.links().unwrap(), before, "{command} {point}");
            assert!(!is_attached(&lab), "{command} {point}");
            assert_eq!(problems(&lab), NONE, "{command} {point}");
            if !is_dead {
                break;
            }
            died += 1;
        }
        assert!(died > 5, "{command}: {died}");
    }
    works(&lab, crowd.first(), crowd.last());
}

#[test]
fn whoever_dies_while_ports_are_made_is_made_good_for() {
    require_root!();
    let lab = Lab::new().unwrap();
    let mut crowd = Crowd::new(&lab);
    let slow = crowd.first().0.plugin().with(&json!({"redirect": false})).container("slow").unwrap();
    // From where there is nothing to be lost yet to where all is done.
    let mut point = 1;
    while dies(&slow, "ADD", point) {
        slow.del().unwrap();
        assert_eq!(problems(&lab), NONE, "{point}");
        point += 17;
        // Those that were made ports stay so; two others are none.
        while ports(&lab).len() > PORTS {
            crowd.del(0);
        }
        while crowd.there.len() < PORTS + 2 {
            crowd.add(&format!("p{point}-{}", crowd.there.len()), &json!({}));
        }
        works(&lab, crowd.first(), crowd.last());
    }
    assert_eq!(ports(&lab).len(), PORTS + 3);
    assert_eq!(problems(&lab), NONE);
}
