//! Many commands at once: each succeeds or fails cleanly, and what is there in the end fits together.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use netfast_tests::{Finished, Lab, require_root};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];
const COUNT: usize = 8;

fn topology(count: usize) -> String {
    let endpoints: Vec<_> = (0..count).map(|n| format!("old{n}: {{}}")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        "networks: {{lab: {{subnet: 10.77.0.0/24, subnet6: \"fd77::/64\"}}}}\nendpoints: {{{endpoints}}}\n"
    )
}

/// Runs commands at the same time.
fn all_at_once(lab: &Lab, commands: &[Vec<String>]) -> Vec<Finished> {
    thread::scope(|scope| {
        let threads: Vec<_> = commands
            .iter()
            .map(|args| {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                scope.spawn(move || lab.netfast(&args).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Every endpoint is ready, has addresses of its own, and reaches the gateway and the first one.
fn check(lab: &Lab, wanted: &BTreeSet<String>) {
    let status = lab.netfast_json(&["status"]).unwrap();
    let endpoints = status["endpoints"].as_array().unwrap();
    let text = |key: &str| -> Vec<&str> { endpoints.iter().map(|e| e[key].as_str().unwrap()).collect() };
    assert_eq!(text("name").into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), *wanted);
    for key in ["ip", "ip6", "mac", "host_ifname", "netns"] {
        let values: BTreeSet<_> = text(key).into_iter().collect();
        assert_eq!(values.len(), wanted.len(), "{key}: {status:#}");
    }
    assert!(endpoints.iter().all(|e| e["ready"] == true), "{status:#}");
    let mut devices = text("host_ifname");
    devices.extend(["lo", "uplink0", "nf-lab"]);
    devices.sort_unstable();
    // And the one by which fragments are put in order.
    let links = lab.host.links().unwrap().into_iter().filter(|link| !link.starts_with("nf0-"));
    assert_eq!(links.collect::<Vec<_>>(), devices);
    let (addresses, addresses6) = (text("ip"), text("ip6"));
    for name in wanted {
        let ns = lab.endpoint_ns(name).unwrap();
        ns.ping("10.77.0.1", SECOND).unwrap();
        for address in addresses.iter().chain(&addresses6) {
            ns.ping(address, SECOND).expect(name);
        }
    }
}

#[test]
fn endpoints_come_and_go_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", &topology(COUNT)).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let mut commands = Vec::new();
    for n in 0..COUNT {
        commands.push(words(&format!("endpoint add new{n}")));
        commands.push(words(&format!("endpoint rm old{n}")));
        commands.push(words(["status", "status -o json", "endpoint ls", "port ls"][n % 4]));
    }
    for (done, args) in all_at_once(&lab, &commands).iter().zip(&commands) {
        assert!(done.success(), "{args:?}: {done:?}");
        assert_eq!(done.stderr, "", "{args:?}");
    }
    check(&lab, &(0..COUNT).map(|n| format!("new{n}")).collect());

    // One of two that want the same wins.
    let same = [words("endpoint add same --ip 10.77.0.99"), words("endpoint add other --ip 10.77.0.99")];
    let done = all_at_once(&lab, &same);
    assert_eq!(done.iter().filter(|done| done.success()).count(), 1, "{done:?}");
    let failed = done.iter().find(|done| !done.success()).unwrap();
    assert!(failed.stderr.contains("has the same"), "{failed:?}");
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn up_and_down_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", &topology(3)).unwrap();
    let up = words(&format!("up -d -f {file}"));
    for done in all_at_once(&lab, &[up.clone(), up.clone()]) {
        assert!(done.success(), "{done:?}");
    }
    let wanted = ["old0", "old1", "old2"].map(str::to_owned).into();
    check(&lab, &wanted);
    // In whatever order: none fails, and one more brings it to either end.
    let down = words("down");
    let status = words("status -o json");
    for round in 0..4 {
        let commands = [up.clone(), down.clone(), status.clone(), up.clone(), down.clone(), status.clone()];
        for (done, args) in all_at_once(&lab, &commands).iter().zip(&commands) {
            assert!(done.success(), "{args:?} in round {round}: {done:?}");
        }
    }
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    check(&lab, &wanted);
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
