//! What was before, and what is beside: another instance on the same host, an earlier boot, an earlier owner of a port.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::Duration;

use netfast_tests::{Container, HOST_V4, Lab, Plugin, address, require_root, udp_ask_on};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const NONE: [String; 0] = [];

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"cniVersion": "1.1.0", "ipam": {"subnet": "10.77.0.0/24"}}))
}

/// A plugin of another instance on the lab's host.
fn another<'a>(lab: &'a Lab, plugin: &Plugin<'a>) -> Plugin<'a> {
    plugin.with(&json!({
        "name": "other",
        "ipam": {"subnet": "10.78.0.0/24"},
        "stateDir": lab.dir().join("state2"),
        "runDir": lab.dir().join("run2"),
        "bpffs": lab.dir().join("bpffs2"),
    }))
}

/// What another instance is told.
fn netfast(lab: &Lab, args: &[&str]) -> String {
    let mut command = lab.command(args);
    for (variable, name) in [("STATE_DIR", "state2"), ("RUN_DIR", "run2"), ("BPFFS", "bpffs2")] {
        command.env(format!("NETFAST_{variable}"), lab.dir().join(name));
    }
    let done = netfast_tests::Running::start(&mut command).unwrap().finish(6 * PATIENCE).unwrap();
    assert!(done.success(), "{args:?}: {done:?}");
    done.stdout
}

#[test]
fn two_instances_leave_each_other_alone() {
    require_root!();
    let lab = Lab::new().unwrap();
    let one = plugin(&lab);
    let other = another(&lab, &one);
    let first = one.container("c1").unwrap();
    // The same container in both, and one that is in the other alone.
    let second = other.of(&first.ns, "c1").with_ifname("eth1");
    let third = other.container("c3").unwrap();
    first.add().unwrap();
    let results = [second.add().unwrap(), third.add().unwrap()];
    let whole = |case: &str| {
        for (container, result) in [&second, &third].into_iter().zip(&results) {
            let answer = container.check(result).unwrap();
            assert_eq!(answer.code, Some(0), "{case}: {answer:?}");
        }
        third.ns.ping("10.78.0.1", PATIENCE).unwrap();
    };
    whole("both are there");
    one.with(&json!({"cni.dev/valid-attachments": []})).call("GC").unwrap().ok().unwrap();
    assert_eq!(first.ns.links().unwrap(), ["eth1", "lo"]);
    whole("all of the first is garbage");
    // Neither knows what the other's is called.
    first.add().unwrap();
    one.with(&json!({"name": "other", "ipam": {"subnet": "10.78.0.0/24"}}))
        .of(&third.ns, "c3")
        .call("DEL")
        .unwrap()
        .ok()
        .unwrap();
    whole("removed from the first");
    lab.netfast_ok(&["down"]).unwrap();
    whole("the first is down");
    let list: Value = serde_json::from_str(&netfast(&lab, &["endpoint", "ls", "-o", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    second.del().unwrap();
    third.del().unwrap();
    netfast(&lab, &["down"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// A network and a container of the same names in both: every device would be called the same.
#[test]
fn two_instances_with_the_same_names() {
    require_root!();
    let lab = Lab::new().unwrap();
    let one = plugin(&lab);
    let other = another(&lab, &one).with(&json!({"name": "lab"}));
    let id = "c".repeat(64);
    let first = one.container(&id).unwrap();
    let first_result = first.add().unwrap();
    let whole = |container: &Container<'_>, result: &Value, gateway: &str| {
        let answer = container.check(result).unwrap();
        assert_eq!(answer.code, Some(0), "{answer:?}");
        container.ns.ping(gateway, PATIENCE).unwrap();
    };
    // What fails half-way through takes away its own only, and so does the next one after what was killed.
    let elsewhere = other.of(&first.ns, &id);
    let answer = elsewhere.call("ADD").unwrap();
    assert!(answer.failure().unwrap().1.contains("eth0"), "{answer:?}");
    whole(&first, &first_result, "10.77.0.1");
    let second = other.of(&first.ns, &id).with_ifname("eth1");
    let netns = second.ns.path().display().to_string();
    let killed_at = |point: usize| {
        let fault = point.to_string();
        let mut variables = second.variables("ADD", &netns).to_vec();
        variables.push(("NETFAST_FAULT", &fault));
        let answer = other.call_with(&variables, &other.config().to_string()).unwrap();
        assert_eq!(answer.code, None, "{answer:?}");
        let is_begun = lab.dir().join("run2/networks/lab.json").exists();
        netfast(&lab, &["down"]);
        whole(&first, &first_result, "10.77.0.1");
        (is_begun, answer.stderr)
    };
    // Loading the programs comes first, and has many points.
    let begun = (8..).step_by(8).find(|point| killed_at(*point).0).unwrap();
    (begun - 8..begun + 64).find(|point| killed_at(*point).1.contains("attach a program")).unwrap();
    let second_result = second.add().unwrap();
    let devices = |result: &Value| {
        let of = |n: usize| result["interfaces"][n]["name"].as_str().unwrap().to_owned();
        [of(0), of(1)]
    };
    let (ones, others) = (devices(&first_result), devices(&second_result));
    assert!(ones.iter().all(|name| !others.contains(name)), "{ones:?} {others:?}");
    whole(&first, &first_result, "10.77.0.1");
    whole(&second, &second_result, "10.78.0.1");
    // Records that cannot be read: what they were about is found otherwise.
    fs::write(lab.dir().join("run2/networks/lab.json"), "{").unwrap();
    for entry in fs::read_dir(lab.dir().join("run2/endpoints")).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    netfast(&lab, &["down"]);
    let links = lab.host.links().unwrap();
    assert!(others.iter().all(|name| !links.contains(name)), "{links:?}");
    whole(&first, &first_result, "10.77.0.1");
    // And whoever goes first leaves the other one.
    let second_result = second.add().unwrap();
    lab.netfast_ok(&["down"]).unwrap();
    whole(&second, &second_result, "10.78.0.1");
    second.del().unwrap();
    netfast(&lab, &["down"]);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_boot_voids_what_was_given_before() {
    require_root!();
    let mut lab = Lab::new().unwrap();
    let was = {
        let container = plugin(&lab).container("before").unwrap();
        address(&container.add().unwrap(), 4).unwrap()
    };
    lab.reboot().unwrap();
    let plugin = plugin(&lab);
    // All addresses are free again, and in turn from the first one on.
    let container = plugin.container("after").unwrap();
    let result = container.add().unwrap();
    assert_eq!(address(&result, 4).unwrap(), was);
    container.ns.ping("10.77.0.1", PATIENCE).unwrap();
    let list = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    // A runtime cleans up what it had before, in whatever order.
    plugin.container("before").unwrap().del().unwrap();
    assert_eq!(container.check(&result).unwrap().ok().unwrap(), "");
    container.del().unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// What a command adds to the network of containers stays after a boot, and keeps nobody out: neither those of other networks
/// before that one is asked for again, nor those of its own.
#[test]
fn who_joined_the_network_of_containers_is_there_after_a_boot() {
    require_root!();
    let mut lab = Lab::new().unwrap();
    let other = json!({"name": "other", "ipam": {"ranges": [[{"subnet": "10.79.0.0/24"}]]}});
    plugin(&lab).container("first").unwrap().add().unwrap();
    lab.netfast_ok(&["endpoint", "add", "joined", "--network", "lab", "--ip", "10.77.0.1"]).unwrap_err();
    lab.netfast_ok(&["endpoint", "add", "joined", "--network", "lab", "--ip", "10.77.0.2"]).unwrap_err();
    lab.netfast_ok(&["endpoint", "add", "joined", "--network", "lab", "--ip", "10.77.0.3"]).unwrap();
    lab.netfast_ok(&["endpoint", "label", "joined", "app=web"]).unwrap();
    let is_whole = |lab: &Lab, when: &str| {
        let joined = lab.netfast_json(&["endpoint", "inspect", "joined"]).unwrap();
        assert_eq!(
            (&joined["ready"], &joined["labels"]["app"]),
            (&json!(true), &json!("web")),
            "{when}: {joined:#}"
        );
        lab.endpoint_ns("joined").unwrap().ping("10.77.0.1", PATIENCE).unwrap();
    };
    is_whole(&lab, "before");
    for is_run_dir_kept in [true, false] {
        lab.reboot().unwrap();
        if !is_run_dir_kept {
            fs::remove_dir_all(lab.dir().join("run")).unwrap();
        }
        // Who defines it otherwise is told who is in the way.
        let changed = plugin(&lab).with(&json!({"mtu": 1400})).container("changed").unwrap().add();
        let refusal = changed.unwrap_err().to_string();
        assert!(refusal.contains("lab is defined differently, and endpoint joined is in it"), "{refusal}");
        plugin(&lab).with(&other).container("elsewhere").unwrap().add().unwrap();
        is_whole(&lab, "another network is there");
        let given = ["again", "more"]
            .map(|name| address(&plugin(&lab).container(name).unwrap().add().unwrap(), 4).unwrap());
        assert!(!given.contains(&"10.77.0.3".to_owned()), "{given:?}");
        is_whole(&lab, "its own network is there");
    }
    // Whatever comes first after a boot, a file with a network of its own too.
    lab.reboot().unwrap();
    let file = lab.file("netfast.yaml", "networks: {own: {subnet: 10.80.0.0/24}}\n").unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    is_whole(&lab, "a file is brought up");
    // When it has gone, the network is still that of the containers.
    let plugin = plugin(&lab);
    let container = plugin.container("stays").unwrap();
    let result = container.add().unwrap();
    lab.netfast_ok(&["endpoint", "rm", "joined"]).unwrap();
    lab.netfast_ok(&["deny", "add", "198.51.100.7"]).unwrap();
    assert_eq!(container.check(&result).unwrap().code, Some(0));
    plugin.container("last").unwrap().add().unwrap();
    container.ns.ping("10.77.0.1", PATIENCE).unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// A client that goes on asking from the same port is answered by whoever has the port now.
#[test]
fn a_port_that_is_used_again_at_once_leads_to_its_new_owner() {
    require_root!();
    let lab = Lab::new().unwrap();
    let port = json!({"portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]});
    let plugin = plugin(&lab);
    let beside = plugin.with(&json!({"runtimeConfig": {}})).container("beside").unwrap();
    beside.add().unwrap();
    let plugin = plugin.with(&json!({"runtimeConfig": port}));
    let host = format!("{HOST_V4}:5353");
    let clients = [&lab.outside, &beside.ns].map(|ns| (ns.name(), ns.udp_connect(None, &host).unwrap()));
    for name in ["one", "two", "three"] {
        let container = plugin.container(name).unwrap();
        let result = container.add().unwrap();
        let _server = container.ns.udp_serve(&format!("{}:53", address(&result, 4).unwrap())).unwrap();
        for (from, client) in &clients {
            // What was asked while nobody was there may have left an error at the socket, which the first question meets.
            let replies = (0..10).find_map(|_| udp_ask_on(client, 64, SECOND).ok());
            assert_eq!(replies.unwrap_or_else(|| panic!("{from} asks {name}")).by, name, "{from}");
        }
        container.del().unwrap();
        // Nobody is there, but they go on to ask.
        for (from, client) in &clients {
            assert!(udp_ask_on(client, 64, SECOND / 10).is_err(), "{from} is answered");
        }
    }
}
