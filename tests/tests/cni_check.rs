//! What `CHECK` finds of what others have changed at a container that netfast attached, and what it takes over.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::time::Duration;

use netfast_tests::{Lab, Ns, Plugin, address, require_root};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"ipam": {"subnet": "10.77.0.0/24"}}))
}

fn unlimited(ns: &Ns, device: &str) {
    assert!(ns.finish("tc", &["qdisc", "del", "dev", device, "root"], PATIENCE).unwrap().success());
}

#[test]
fn a_limit_that_is_gone_is_found() {
    require_root!();
    let lab = Lab::new().unwrap();
    let limits = json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000});
    let limited = plugin(&lab).with(&json!({"runtimeConfig": {"bandwidth": limits}}));
    for at_host in [true, false] {
        let slow = limited.container("slow").unwrap();
        let result = slow.add().unwrap();
        assert_eq!(slow.check(&result).unwrap().ok().unwrap(), "");
        let direction = if at_host {
            unlimited(&lab.host, result["interfaces"][1]["name"].as_str().unwrap());
            "comes"
        } else {
            unlimited(&slow.ns, "eth0");
            "goes"
        };
        let (code, message) = slow.check(&result).unwrap().failure().unwrap();
        assert_eq!(code, 101, "{message}");
        assert_eq!(message, format!("the limit of the bandwidth of what {direction} is gone"));
        slow.del().unwrap();
    }
}

#[test]
fn a_mac_address_that_the_runtime_was_told_of_is_taken_over() {
    const MAC: &str = "02:11:22:33:44:55";
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let (web, client) = (plugin.container("web").unwrap(), plugin.container("client").unwrap());
    let (mut told, others) = (web.add().unwrap(), client.add().unwrap());
    let ip = address(&told, 4).unwrap();
    let _server = web.ns.tcp_serve("[::]:80").unwrap();
    web.ns.ip(&format!("link set eth0 address {MAC}")).unwrap();
    // Nobody but the container says so.
    let (code, message) = web.check(&told).unwrap().failure().unwrap();
    assert_eq!(code, 101);
    assert_eq!(message, "the container's interface eth0 has another hardware address");
    told["interfaces"][2]["mac"] = json!(MAC);
    assert_eq!(told["interfaces"][2]["name"], "eth0");
    assert_eq!(web.check(&told).unwrap().ok().unwrap(), "");
    for from in [&client.ns, &lab.host] {
        from.tcp_ask(&format!("{ip}:80"), PATIENCE).unwrap();
    }
    let entries = lab.host.finish("bridge", &["fdb", "show"], PATIENCE).unwrap().stdout;
    let device = told["interfaces"][1]["name"].as_str().unwrap();
    let of_web: Vec<_> =
        entries.lines().filter(|line| line.contains(device) && line.contains("static")).collect();
    assert!(of_web.len() == 1 && of_web[0].starts_with(MAC), "{of_web:?}");
    // Another one's is not.
    let mac = others["interfaces"][2]["mac"].as_str().unwrap();
    web.ns.ip(&format!("link set eth0 address {mac}")).unwrap();
    told["interfaces"][2]["mac"] = json!(mac);
    assert_eq!(web.check(&told).unwrap().failure().unwrap().0, 101);
    web.del().unwrap();
    assert_eq!(web.ns.links().unwrap(), ["lo"]);
}
