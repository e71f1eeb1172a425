//! What `CHECK` finds of what others have changed at a container that netfast attached, and what it takes over.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::time::Duration;

use netfast_tests::{Lab, Plugin, address, require_root};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"ipam": {"subnet": "10.77.0.0/24"}}))
}

/// What somebody does to the limit of a device: takes it away, sets another one.
const MEDDLING: [(&str, &[&str]); 2] =
    [("del", &[]), ("change", &["tbf", "rate", "80mbit", "burst", "100kb", "latency", "50ms"])];

fn problems(lab: &Lab) -> Value {
    lab.netfast_json(&["status"]).unwrap()["problems"].take()
}

#[test]
fn a_limit_that_is_gone_is_found_and_put_back() {
    require_root!();
    let lab = Lab::new().unwrap();
    // In bits a second. The second one has no room in 32 bits when it is bytes.
    let limited = |rate: u64| {
        let limits =
            json!({"ingressRate": rate, "ingressBurst": 800_000, "egressRate": rate, "egressBurst": 800_000});
        plugin(&lab).with(&json!({"runtimeConfig": {"bandwidth": limits}}))
    };
    let (slow, fast) = (limited(8_000_000), limited(40_000_000_000));
    let (slow, fast) = (slow.container("slow").unwrap(), fast.container("fast").unwrap());
    let (result, of_fast) = (slow.add().unwrap(), fast.add().unwrap());
    assert_eq!(fast.check(&of_fast).unwrap().ok().unwrap(), "");
    fast.del().unwrap();
    assert_eq!(slow.check(&result).unwrap().ok().unwrap(), "");
    let host_end = result["interfaces"][1]["name"].as_str().unwrap();
    let name = lab.netfast_json(&["endpoint", "ls"]).unwrap()[0]["name"].as_str().unwrap().to_owned();
    for (ns, device, direction) in [(&lab.host, host_end, "comes"), (&slow.ns, "eth0", "goes")] {
        for (verb, options) in MEDDLING {
            assert_eq!(problems(&lab), json!([]));
            let args = [&["qdisc", verb, "dev", device, "root"], options].concat();
            assert!(ns.finish("tc", &args, PATIENCE).unwrap().success());
            let (code, message) = slow.check(&result).unwrap().failure().unwrap();
            assert_eq!(code, 101, "{message}");
            let told = format!(
                "endpoint {name}: the limit of the bandwidth of what {direction} is gone, or another one"
            );
            assert_eq!(message, told);
            assert_eq!(problems(&lab), json!([told]));
            // Any command that changes something.
            lab.netfast_ok(&["deny", "add", "203.0.113.1"]).unwrap();
            lab.netfast_ok(&["deny", "rm", "203.0.113.1"]).unwrap();
            assert_eq!(slow.check(&result).unwrap().ok().unwrap(), "");
        }
    }
    slow.del().unwrap();
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
