//! A hundred calls of the CNI plugin at once: fifty containers, each in two networks.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{Answer, Container, Lab, Plugin, address, require_root};
use serde_json::{Value, json};

const CONTAINERS: usize = 50;
const PATIENCE: Duration = Duration::from_mins(5);
const NONE: [String; 0] = [];

/// "Try again later", says the specification of this code, and runtimes do: whoever waits for the lock for half a minute, as on a
/// machine that is busy with much else, gets it.
const TRY_AGAIN: u64 = 11;

fn network<'a>(lab: &'a Lab, name: &str, subnet: &str) -> Plugin<'a> {
    lab.plugin(&json!({"name": name, "ipam": {"ranges": [[{"subnet": subnet}]]}}))
}

/// Has a runtime call the plugin until it gets its turn.
fn call(container: &Container<'_>, command: &str) -> Answer {
    let start = Instant::now();
    loop {
        let answer = container.call(command).unwrap();
        let is_later = answer.code == Some(1) && answer.failure().unwrap().0 == TRY_AGAIN;
        if !is_later || start.elapsed() > PATIENCE {
            return answer;
        }
    }
}

/// The same command for all of them at once.
fn all_at_once(containers: &[Container<'_>], command: &str) -> Vec<String> {
    thread::scope(|scope| {
        let calls: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(move || call(container, command).ok().unwrap()))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn a_hundred_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    let (left, right) = (network(&lab, "left", "10.77.0.0/24"), network(&lab, "right", "10.78.0.0/24"));
    let mut containers = Vec::new();
    for number in 0..CONTAINERS {
        let first = left.container(&format!("c{number}")).unwrap();
        let second = right.of(&first.ns, &first.id).with_ifname("eth1");
        containers.extend([first, second]);
    }
    let results = all_at_once(&containers, "ADD");
    let results: Vec<Value> = results.iter().map(|result| serde_json::from_str(result).unwrap()).collect();
    let addresses: BTreeSet<_> = results.iter().map(|result| address(result, 4).unwrap()).collect();
    assert_eq!(addresses.len(), 2 * CONTAINERS);
    let endpoints = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let endpoints = endpoints.as_array().unwrap();
    assert!(endpoints.iter().all(|endpoint| endpoint["ready"] == true), "{endpoints:#?}");
    assert_eq!(endpoints.len(), 2 * CONTAINERS);
    let status = lab.netfast_json(&["status"]).unwrap();
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status:#}");
    for network in 0..2 {
        let (server, client) = (network, 2 * (CONTAINERS - 1) + network);
        let _server = containers[server].ns.tcp_serve("0.0.0.0:80").unwrap();
        let to = format!("{}:80", address(&results[server], 4).unwrap());
        containers[client].ns.tcp_ask(&to, Duration::from_secs(10)).unwrap();
    }
    all_at_once(&containers, "DEL");
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    let devices = lab.host.links().unwrap();
    let veths: Vec<_> = devices.iter().filter(|link| link.starts_with("nf") && !link.contains('-')).collect();
    assert!(veths.is_empty(), "{veths:?}");
    // Once more for those that are gone.
    all_at_once(&containers, "DEL");
    lab.netfast_ok(&["down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
