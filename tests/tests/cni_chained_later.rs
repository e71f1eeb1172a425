//! netfast in the middle of a list: what plugins that come later change at the devices is noticed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::time::Duration;

use netfast_tests::{Lab, Member, address, require_stock_plugins};
use serde_json::{Value, json};

/// Long enough for everything that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);
const MAC: &str = "02:11:22:33:44:55";

fn bridge(lab: &Lab) -> Value {
    let ipam = lab.host_local(&["10.88.0.0/24", "fd88::/64"]);
    json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam})
}

fn netfast() -> Value {
    json!({"type": "netfast", "capabilities": {"bandwidth": true}})
}

fn tuning(lab: &Lab) -> Value {
    json!({"type": "tuning", "mac": MAC, "dataDir": lab.dir().join("tuning")})
}

/// Bits a second, in both directions.
const RATE: u64 = 8_000_000;

fn bandwidth() -> Value {
    json!({"type": "bandwidth", "capabilities": {"bandwidth": true}})
}

fn limit(direction: &str) -> Value {
    let (rate, burst) = (format!("{direction}Rate"), format!("{direction}Burst"));
    json!({"bandwidth": {rate: RATE, burst: 400_000}})
}

fn inspect(lab: &Lab, member: &Member) -> Value {
    lab.netfast_json(&["endpoint", "inspect", &member.id]).unwrap()
}

fn v4(member: &Member) -> String {
    address(&member.result, 4).unwrap()
}

#[test]
fn a_mac_address_that_is_changed_before() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let chain = lab.chain(&[bridge(&lab), tuning(&lab), netfast()]);
    let web = chain.add("web").unwrap();
    let client = lab.chain(&[bridge(&lab), netfast()]).add("client").unwrap();
    assert_eq!(inspect(&lab, &web)["mac"], MAC);
    let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
    client.ns.tcp_ask(&format!("{}:80", v4(&web)), PATIENCE).unwrap();
    chain.check(&web).unwrap();
}

#[test]
fn a_mac_address_that_is_changed_later_is_noticed() {
    require_stock_plugins!();
    for by_check in [true, false] {
        let lab = Lab::new().unwrap();
        let others = lab.chain(&[bridge(&lab), netfast()]);
        let client = others.add("client").unwrap();
        let chain = lab.chain(&[bridge(&lab), netfast(), tuning(&lab)]);
        let web = chain.add("web").unwrap();
        assert_ne!(inspect(&lab, &web)["mac"], MAC);
        let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
        let address = format!("{}:80", v4(&web));
        // Until then it is somebody with a MAC address that is not its own.
        assert!(client.ns.tcp_ask(&address, Duration::from_millis(400)).is_err());
        // Kept, as a namespace is: another file may get the number of one that is closed.
        let _next = if by_check {
            chain.check(&web).unwrap();
            None
        } else {
            Some(others.add("next").unwrap())
        };
        assert_eq!(inspect(&lab, &web)["mac"], MAC);
        client.ns.tcp_ask(&address, PATIENCE).unwrap();
        chain.del(&web).unwrap();
    }
}

/// How long a container takes to get this much from another: at the limit, two seconds.
fn takes(from: &Member, to: &Member) -> Duration {
    from.ns.tcp_stream(&format!("{}:80", v4(to)), 2_000_000, PATIENCE).unwrap()
}

/// Sees that a limit of this direction is kept by the plugins of a list.
fn limits(lab: &Lab, plugins: &[Value], direction: &str) {
    let chain = lab.chain(plugins);
    let fast = chain.add("fast").unwrap();
    // The last one: another `ADD` would notice the queue.
    let slow = chain.with_runtime(limit(direction)).add("slow").unwrap();
    let _servers = [&slow, &fast].map(|member| member.ns.tcp_serve("[::]:80").unwrap());
    // A stream is answered with as much, so either end sees its limit.
    let taken = takes(&fast, &slow);
    assert!(taken > Duration::from_millis(1200), "{direction} {plugins:?}: {taken:?}");
    chain.ask_netfast("CHECK", &slow).unwrap();
    chain.with_runtime(limit(direction)).del(&slow).unwrap();
}

#[test]
fn limits_are_kept_whichever_plugin_comes_first() {
    require_stock_plugins!();
    for order in [[bandwidth(), netfast()], [netfast(), bandwidth()]] {
        for direction in ["ingress", "egress"] {
            let lab = Lab::new().unwrap();
            limits(&lab, &[&[bridge(&lab)][..], &order].concat(), direction);
        }
    }
}

/// netfast makes the interface, and another plugin is to limit it.
#[test]
fn limits_are_kept_behind_netfast_too() {
    require_stock_plugins!();
    let main = json!({"type": "netfast", "redirect": false, "ipam": {"subnet": "10.88.0.0/24"}});
    for direction in ["ingress", "egress"] {
        limits(&Lab::new().unwrap(), &[main.clone(), bandwidth()], direction);
    }
}

#[test]
fn a_queue_that_comes_later_is_noticed_by_check() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let chain = lab.chain(&[bridge(&lab), netfast()]);
    let (slow, fast) = (chain.add("slow").unwrap(), chain.add("fast").unwrap());
    let _server = slow.ns.tcp_serve("[::]:80").unwrap();
    let device = inspect(&lab, &slow)["host_ifname"].as_str().unwrap().to_owned();
    let args =
        ["qdisc", "add", "dev", &device, "root", "tbf", "rate", "8mbit", "burst", "50kb", "latency", "50ms"];
    assert!(lab.host.finish("tc", &args, PATIENCE).unwrap().success());
    let met = || lab.host.counters().unwrap()[&device].tx_packets;
    let before = met();
    chain.check(&slow).unwrap();
    let taken = takes(&fast, &slow);
    assert!(met() - before > 20, "{} packets met the queue in {taken:?}", met() - before);
    assert!(taken > Duration::from_millis(1200), "{taken:?}");
}
