//! What the CNI plugin removes, and what is left then: nothing.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use netfast_tests::{Container, Lab, Plugin, address, eventually, require_root};
use serde_json::json;

fn plugin(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({
        "cniVersion": "1.1.0",
        "ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
    }))
}

/// Everything of a lab's instance that an attachment adds to: devices, files, pins, neighbours, and what it tells of
/// endpoints.
fn held(lab: &Lab) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    list(&lab.dir().join("run"), &mut held);
    // It is there or not, as it is written anew where it is missing.
    held.retain(|file| !file.ends_with("/ledger.json"));
    let pins = lab.host.run(|| {
        let mut pins = BTreeSet::new();
        list(&lab.dir().join("bpffs"), &mut pins);
        Ok(pins)
    });
    held.extend(pins.unwrap());
    held.extend(lab.host.links().unwrap());
    held.extend(lab.host.ip("neigh show nud permanent").unwrap().lines().map(str::to_owned));
    held.extend(lab.host.ip("route show table all").unwrap().lines().map(str::to_owned));
    let endpoints = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    held.extend(
        endpoints.as_array().unwrap().iter().map(|endpoint| format!("endpoint {}", endpoint["name"])),
    );
    held
}

#[track_caller]
fn same(lab: &Lab, before: &BTreeSet<String>, case: &str) {
    let now = held(lab);
    let left: Vec<_> = now.difference(before).collect();
    let lost: Vec<_> = before.difference(&now).collect();
    assert!(left.is_empty() && lost.is_empty(), "{case}: left {left:#?}, lost {lost:#?}");
}

fn list(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.path().is_dir() {
            list(&entry.path(), found);
        }
    }
}

/// What is there before a case, and is there again after it.
struct Before<'a> {
    /// A container that stays, so that the instance itself is no difference.
    stays: Container<'a>,
    plugin: Plugin<'a>,
    held: BTreeSet<String>,
}

impl<'a> Before<'a> {
    fn of(lab: &'a Lab) -> Self {
        let plugin = plugin(lab);
        let stays = plugin.with(&json!({"runtimeConfig": {}})).container("stays").unwrap();
        stays.add().unwrap();
        // One to and fro: what is made for the first container that publishes anything stays.
        let first = plugin.container("first").unwrap();
        first.add().unwrap();
        first.del().unwrap();
        Self { stays, plugin, held: held(lab) }
    }
}

#[test]
fn a_removal_leaves_nothing_however_it_comes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let Before { stays, plugin, held: before } = Before::of(&lab);

    // Never added.
    plugin.container("never").unwrap().del().unwrap();
    same(&lab, &before, "after that");

    for (case, netns) in
        [("its namespace", None), ("no namespace", Some("")), ("no such path", Some("/nowhere"))]
    {
        let container = plugin.container("c1").unwrap();
        let result = container.add().unwrap();
        let with_result = container.under(&plugin.with(&json!({"prevResult": result})));
        let own = container.ns.path().display().to_string();
        let netns = netns.unwrap_or(&own);
        // With the result and without, and again.
        for container in [&with_result, &container, &container] {
            assert_eq!(container.call_in("DEL", netns).unwrap().ok().unwrap(), "", "{case}");
        }
        same(&lab, &before, case);
        assert_eq!(container.ns.links().unwrap(), ["lo"], "{case}");
    }

    // The namespace is gone.
    let container = plugin.container("c1").unwrap();
    container.add().unwrap();
    let netns = container.ns.path().display().to_string();
    let gone = container.under(&plugin);
    let ids = plugin.of(&stays.ns, "c1");
    drop((container, gone));
    ids.call_in("DEL", &netns).unwrap().ok().unwrap();
    same(&lab, &before, "after that");

    // The namespace is another container's by now, which keeps its interface.
    let container = plugin.container("c1").unwrap();
    container.add().unwrap();
    container.ns.ip("link del eth0").unwrap();
    let reused = plugin.with(&json!({"runtimeConfig": {}})).of(&container.ns, "c2");
    let result = reused.add().unwrap();
    container.del().unwrap();
    assert_eq!(reused.check(&result).unwrap().ok().unwrap(), "");
    assert_eq!(reused.ns.links().unwrap().len(), 2);
    reused.del().unwrap();
    same(&lab, &before, "after that");

    let gateway = "10.77.0.1";
    stays.ns.ping(gateway, Duration::from_secs(10)).unwrap();
    stays.del().unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), Vec::<String>::new());
}

/// Calls the plugin as the first process of a namespace of processes, lists what the processes have open that it leaves, and
/// waits until they have ended.
const CALLER: [&str; 7] = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", FIRST];
const FIRST: &str = r#"
"$0" || exit
left() { for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && test "$name" = netfast && echo "$process"
done 2>/dev/null; }
for process in $(left); do ls -l "$process/fd" "$process/cwd"; done 2>/dev/null
for _ in $(seq 300); do test "$(left)" || exit 0; sleep 0.01; done
exit 9
"#;

#[test]
fn who_waits_for_the_end_of_the_device_holds_nothing_and_ends() {
    require_root!();
    let lab = Lab::new().unwrap();
    let Before { stays: _stays, plugin, held: before } = Before::of(&lab);
    let mut seen = 0;
    for round in 0..5 {
        let container = plugin.container(&format!("left{round}")).unwrap();
        container.add().unwrap();
        let answer = container.call_by(&CALLER, "DEL").unwrap();
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let open: Vec<_> = answer.stdout.lines().filter_map(|line| line.split_once(" -> ")).collect();
        let others: Vec<_> = open.iter().filter(|(_, file)| !["/dev/null", "/"].contains(file)).collect();
        seen += open.len();
        // Its request and how that ended: neither the caller's pipes nor locks.
        assert!(others.len() <= 2, "{answer:?}");
        let is_own = |file: &str| file.starts_with("socket:") || file.starts_with("pipe:");
        assert!(others.iter().all(|(_, file)| is_own(file)), "{answer:?}");
        same(&lab, &before, "after that");
    }
    assert!(seen > 0, "it was never seen");
    // Who may remove many leaves nobody.
    let garbage = plugin.container("garbage").unwrap();
    garbage.add().unwrap();
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "stays", "ifname": "eth0"}]});
    let answer = garbage.under(&plugin.with(&valid)).call_by(&CALLER, "GC").unwrap();
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), ""), "{answer:?}");
    same(&lab, &before, "after a GC");
}

/// In the short way, and in that of everything, as of an endpoint whose ledger is gone.
#[test]
fn what_was_dropped_of_it_is_forgotten() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    let stays = plugin.with(&json!({"runtimeConfig": {}})).container("stays").unwrap();
    stays.add().unwrap();
    let drops = || {
        let status = lab.netfast_json(&["status"]).unwrap();
        let maps = status["maps"].as_array().unwrap();
        maps.iter().find(|map| map["name"] == "NF_EP_DROP").unwrap()["used"].as_u64().unwrap()
    };
    let is_dropping = |container: &Container<'_>, endpoint: &str| {
        eventually("something is dropped", || {
            drop(container.ns.udp_ask("10.77.0.200:9", Duration::from_millis(50)));
            lab.drops(endpoint).unwrap().values().any(|packets| *packets > 0)
        });
    };
    is_dropping(&stays, "stays");
    for by_all in [false, true] {
        let goes = plugin.container("goes").unwrap();
        goes.add().unwrap();
        is_dropping(&goes, "goes");
        if by_all {
            fs::remove_file(lab.dir().join("run/ledger.json")).unwrap();
        }
        goes.del().unwrap();
        assert_eq!(drops(), lab.drops("stays").unwrap().len() as u64, "{by_all}");
    }
}

#[test]
fn where_nothing_ever_was_nothing_comes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab);
    plugin.container("never").unwrap().del().unwrap();
    let list = json!({"cni.dev/valid-attachments": []});
    assert_eq!(plugin.with(&list).call("GC").unwrap().ok().unwrap(), "");
    assert_eq!(lab.leftovers().unwrap(), Vec::<String>::new());
}

#[test]
fn only_the_attachment_that_is_named_goes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let one = plugin.container("c1").unwrap();
    let other = plugin.with(&json!({"name": "other", "ipam": {"subnet": "10.78.0.0/24"}}));
    let two = one.under(&other).with_ifname("eth1");
    one.add().unwrap();
    let result = two.add().unwrap();
    // Neither the container under another network, nor another interface of it.
    one.under(&other).del().unwrap();
    two.under(&plugin).del().unwrap();
    assert_eq!(one.ns.links().unwrap(), ["eth0", "eth1", "lo"]);
    one.del().unwrap();
    assert_eq!(one.ns.links().unwrap(), ["eth1", "lo"]);
    assert_eq!(two.check(&result).unwrap().ok().unwrap(), "");
}

#[test]
fn garbage_is_what_is_not_on_the_list() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let containers: Vec<_> = (0..6).map(|n| plugin.container(&format!("c{n}")).unwrap()).collect();
    let results: Vec<_> = containers.iter().map(|container| container.add().unwrap()).collect();
    let elsewhere = plugin.with(&json!({"name": "elsewhere", "ipam": {"subnet": "10.78.0.0/24"}}));
    let spared = elsewhere.container("spared").unwrap();
    let spared_result = spared.add().unwrap();

    // Without a list nothing is garbage.
    assert_eq!(
        plugin.call("GC").unwrap().failure().unwrap(),
        (7, "GC without cni.dev/valid-attachments".to_owned())
    );
    for (key, valid) in [("cni.dev/valid-attachments", 0..3), ("cni.dev/attachments", 0..2)] {
        let list: Vec<_> =
            valid.clone().map(|n| json!({"containerID": format!("c{n}"), "ifname": "eth0"})).collect();
        assert_eq!(plugin.with(&json!({key: list})).call("GC").unwrap().ok().unwrap(), "");
        for (n, (container, result)) in containers.iter().zip(&results).enumerate() {
            let is_there = container.check(result).unwrap().code == Some(0);
            assert_eq!(is_there, valid.contains(&n), "{key}, c{n}");
        }
    }
    assert_eq!(spared.check(&spared_result).unwrap().ok().unwrap(), "");
    assert_eq!(plugin.with(&json!({"cni.dev/valid-attachments": []})).call("GC").unwrap().ok().unwrap(), "");
    let endpoints = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    assert_eq!(endpoints.as_array().unwrap().len(), 1, "{endpoints}");
}

#[test]
fn a_check_tells_what_is_not_as_it_was_made() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let container = plugin.container("c1").unwrap();
    let another = plugin.container("c2").unwrap();
    let result = container.add().unwrap();
    let host = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    another.add().unwrap();
    let ok = |case: &str| {
        let answer = container.check(&result).unwrap();
        assert_eq!(answer.code, Some(0), "{case}: {answer:?}");
    };
    let wrong = |case: &str, wanted: &str| {
        let (code, message) = container.check(&result).unwrap().failure().unwrap();
        assert_eq!(code, 101, "{case}");
        assert!(message.contains(wanted), "{case}: {message}");
    };
    ok("as it was made");
    // Another container that is gone without notice is none of this one's business.
    another.ns.ip("link del eth0").unwrap();
    ok("another one is broken");
    // A route that somebody adds is allowed.
    container.ns.ip("route add 198.51.100.0/24 via 10.77.0.1").unwrap();
    ok("another route");

    container.ns.ip("route del default").unwrap();
    wrong("route", "the route to 0.0.0.0/0 via 10.77.0.1 is gone");
    container.ns.ip("route add default via 10.77.0.1").unwrap();
    ok("route again");
    let ip = address(&result, 4).unwrap();
    container.ns.ip(&format!("addr del {ip}/24 dev eth0")).unwrap();
    wrong("address", &format!("the container's interface eth0 has lost the address {ip}"));
    container.ns.ip(&format!("addr add {ip}/24 dev eth0")).unwrap();
    container.ns.ip("route add default via 10.77.0.1").unwrap();
    ok("address again");
    lab.host.ip(&format!("link set {host} down")).unwrap();
    wrong("host's end", &format!("the device {host} is down"));
    lab.host.ip(&format!("link set {host} up")).unwrap();
    container.ns.ip("link set eth0 address 02:00:00:00:00:99").unwrap();
    wrong("mac", "the container's interface eth0 has another hardware address");

    // What the result says and what was reserved must be the same.
    let mut other = result.clone();
    other["ips"][0]["address"] = json!("10.77.0.250/24");
    let (code, message) = container.check(&other).unwrap().failure().unwrap();
    assert_eq!(code, 101);
    assert!(message.contains("10.77.0.250/24 of prevResult is not reserved for the container"), "{message}");
    let (code, message) = container.call("CHECK").unwrap().failure().unwrap();
    assert_eq!((code, message.as_str()), (7, "CHECK without prevResult"));

    container.ns.ip("link del eth0").unwrap();
    wrong("interface", "the container has no interface eth0");
    container.del().unwrap();
    let (code, message) = container.check(&result).unwrap().failure().unwrap();
    assert_eq!((code, message.as_str()), (3, "container c1 has no interface eth0 in network lab"));
}

#[test]
fn the_status_tells_whether_containers_can_come() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let status = |plugin: &Plugin<'_>| plugin.call("STATUS").unwrap();
    assert_eq!(status(&plugin).code, Some(0));
    // To look is to leave nothing.
    assert_eq!(lab.leftovers().unwrap(), Vec::<String>::new());
    let unusable = lab.file("file", "").unwrap();
    let (code, message) =
        status(&plugin.with(&json!({"bpffs": format!("{unusable}/bpf")}))).failure().unwrap();
    assert_eq!(code, 50, "{message}");

    let container = plugin.container("c1").unwrap();
    container.add().unwrap();
    assert_eq!(status(&plugin).code, Some(0));
    // What no container could be added to.
    for (more, why) in [
        (json!({"mtu": 9000}), "is defined differently"),
        (json!({"name": "other", "ipam": {"subnet": "10.77.0.0/16"}}), "overlaps with"),
        (json!({"name": "other", "mtu": 60, "ipam": {"subnet": "10.79.0.0/16"}}), "mtu"),
    ] {
        let plugin = plugin.with(&more);
        let (code, message) = status(&plugin).failure().unwrap();
        assert!(code == 50 && message.contains(why), "{code} {message}");
        let added = plugin.container("c2").unwrap().call("ADD").unwrap().failure().unwrap();
        assert!(added.1.contains(why), "{}", added.1);
    }
    // The pins are lost: new containers cannot come, and those that are there are not what they were.
    let bpffs = lab.dir().join("bpffs");
    let (code, message) = status(&plugin.with(&json!({"bpffs": lab.dir().join("other")}))).failure().unwrap();
    assert_eq!(code, 51, "{message}");
    assert!(bpffs.exists());
}

#[test]
fn a_network_that_nobody_uses_gives_way() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = plugin(&lab).with(&json!({"runtimeConfig": {}}));
    let renamed = plugin.with(&json!({"name": "other"}));
    let first = plugin.container("c1").unwrap();
    first.add().unwrap();
    let (code, message) = renamed.container("c2").unwrap().call("ADD").unwrap().failure().unwrap();
    assert!(code == 100 && message.contains("overlaps with"), "{code} {message}");
    first.del().unwrap();
    assert_eq!(renamed.call("STATUS").unwrap().code, Some(0));
    let second = renamed.container("c2").unwrap();
    let result = second.add().unwrap();
    second.check(&result).unwrap().ok().unwrap();
    let bridges = |lab: &Lab| {
        lab.host.links().unwrap().into_iter().filter(|link| link.starts_with("nf-")).collect::<Vec<_>>()
    };
    assert_eq!(bridges(&lab), ["nf-other"]);
}

#[test]
fn what_cannot_be_told_is_not_added() {
    require_root!();
    let lab = Lab::new().unwrap();
    let Before { stays, plugin, held: before } = Before::of(&lab);
    let container = plugin.container("c1").unwrap();
    let answer = container.call_unheard("ADD").unwrap();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("the answer cannot be written"), "{}", answer.stderr);
    assert_eq!(container.ns.links().unwrap(), ["lo"]);
    same(&lab, &before, "unheard");
    container.add().unwrap();
    drop(stays);
}

#[test]
fn one_that_dies_while_it_adds_leaves_nothing_to_the_next() {
    require_root!();
    let lab = Lab::new().unwrap();
    let Before { stays, plugin, held: before } = Before::of(&lab);
    let input = plugin.config().to_string();
    let add = |fault: &str| {
        let container = plugin.container("c1").unwrap();
        let netns = container.ns.path().display().to_string();
        let mut variables = container.variables("ADD", &netns).to_vec();
        variables.push(("NETFAST_FAULT", fault));
        let answer = plugin.call_with(&variables, &input).unwrap();
        (container.under(&plugin), answer)
    };
    let (container, answer) = add("count");
    container.del().unwrap();
    let told = answer.stderr.lines().find_map(|line| line.strip_prefix("fault: ")?.strip_suffix(" points"));
    let points: usize = told.unwrap().parse().unwrap();
    assert!(points > 10, "{answer:?}");
    let is_all = std::env::var_os("NETFAST_TEST_ALL").is_some();
    for point in (1..=points).filter(|point| is_all || point % 4 == point / 4 % 4) {
        let (container, answer) = add(&point.to_string());
        assert_eq!(answer.code, None, "point {point}: {answer:?}");
        container.del().unwrap();
        same(&lab, &before, &format!("point {point}: {answer:?}"));
        assert_eq!(container.ns.links().unwrap(), ["lo"], "point {point}");
    }
    stays.del().unwrap();
}
