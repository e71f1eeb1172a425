//! What others change at the host while containers are attached: the next `ADD` or `DEL` takes note, without a process.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netfast_tests::{Container, HOST_V4, Lab, Ns, Plugin, SECOND, address, eventually, require_root};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);
const BRIDGE: &str = "nf-lab";

fn dual(lab: &Lab) -> Plugin<'_> {
    lab.plugin(&json!({"ipam": {"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]}}))
}

fn publishing<'a>(plugin: &Plugin<'a>, port: u16) -> Plugin<'a> {
    plugin.with(&json!({"runtimeConfig": {"portMappings": [
        {"hostPort": port, "containerPort": 80, "protocol": "tcp"},
    ]}}))
}

/// The host and the container reach each other, and `CHECK` finds nothing.
#[track_caller]
fn is_well(lab: &Lab, container: &Container<'_>, result: &Value, case: &str) {
    let _server = container.ns.tcp_serve("[::]:80").unwrap();
    for ip in [address(result, 4).unwrap(), format!("[{}]", address(result, 6).unwrap())] {
        let asked = lab.host.tcp_ask(&format!("{ip}:80"), PATIENCE);
        assert!(asked.is_ok(), "{case}, {ip}: {asked:?}");
    }
    assert_eq!(container.check(result).unwrap().ok().unwrap(), "", "{case}");
}

#[test]
fn a_new_device_counts_from_the_next_add_on() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let early = publishing(&plugin, 8080).container("early").unwrap();
    early.add().unwrap();
    let beyond = lab.second_uplink("uplink1").unwrap();
    let late = publishing(&plugin, 8081).container("late").unwrap();
    late.add().unwrap();
    let _beyond = beyond.tcp_serve("[::]:80").unwrap();
    for (container, port) in [(&early, 8080), (&late, 8081)] {
        let _server = container.ns.tcp_serve("[::]:80").unwrap();
        beyond.tcp_ask(&format!("{}:{port}", SECOND.host[0]), PATIENCE).unwrap();
        beyond.tcp_ask(&format!("[{}]:{port}", SECOND.host[1]), PATIENCE).unwrap();
        let reply = container.ns.tcp_ask(&format!("{}:80", SECOND.outside[0]), PATIENCE).unwrap();
        assert_eq!(reply.seen_source.ip().to_string(), SECOND.host[0]);
    }
}

/// Its only address is the link-local one that every device gets.
#[test]
fn a_device_that_goes_elsewhere_is_left_alone_from_the_next_add_on() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.host.ip("link add uplink1 type veth peer name far").unwrap();
    lab.host.ip("link set far up").unwrap();
    lab.host.ip("link set uplink1 up").unwrap();
    eventually("the device has its address", || {
        lab.host.ip("-6 addr show dev uplink1").unwrap().contains("inet6 fe80::")
    });
    let plugin = dual(&lab);
    let (early, late) = (plugin.container("early").unwrap(), plugin.container("late").unwrap());
    early.add().unwrap();
    let status = || lab.netfast_json(&["status"]).unwrap();
    assert!(status()["uplinks"].to_string().contains("uplink1"), "{}", status());
    let elsewhere = Ns::new("elsewhere").unwrap();
    lab.host.ip(&format!("link set uplink1 netns {}", elsewhere.path().display())).unwrap();
    late.add().unwrap();
    assert!(!status()["uplinks"].to_string().contains("uplink1"), "{}", status());
    assert_eq!(status()["problems"], json!([]));
}

/// Others' containers come and go, some while the host's devices are looked at.
#[test]
fn devices_that_go_meanwhile_are_in_nobodys_way() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for device in ["others0", "others1", "others2"] {
            let (lab, is_over) = (&lab, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    lab.host.ip(&format!("link add {device} type veth peer name {device}p")).unwrap();
                    lab.host.ip(&format!("link set {device} up")).unwrap();
                    lab.host.ip(&format!("addr add 198.51.100.0/32 dev {device}")).unwrap();
                    lab.host.ip(&format!("link del {device}")).unwrap();
                }
            });
        }
        let done = (0..60).try_for_each(|number| {
            let container = plugin.container(&format!("c{number}"))?;
            container.add()?;
            container.del().map(drop)
        });
        is_over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), Vec::<String>::new());
}

#[test]
fn a_new_address_counts_from_the_next_add_or_del_on() {
    require_root!();
    for by_del in [false, true] {
        let lab = Lab::new().unwrap();
        let plugin = dual(&lab);
        let web = publishing(&plugin, 8080).container("web").unwrap();
        web.add().unwrap();
        let other = plugin.container("other").unwrap();
        other.add().unwrap();
        lab.host.address("uplink0", "192.0.2.77/24").unwrap();
        if by_del {
            other.del().unwrap();
        } else {
            plugin.container("next").unwrap().add().unwrap();
        }
        let _server = web.ns.tcp_serve("[::]:80").unwrap();
        assert_eq!(lab.outside.tcp_ask("192.0.2.77:8080", PATIENCE).unwrap().by, "web");
        assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), PATIENCE).unwrap().by, "web");
    }
}

#[test]
fn a_new_address_counts_from_the_next_command_on() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up("networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {web: {publish: ['8080:80']}}\n").unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.tcp_serve("[::]:80").unwrap();
    for (ip, command) in [
        ("192.0.2.77", &["endpoint", "add", "late"][..]),
        ("192.0.2.78", &["endpoint", "label", "late", "a=b"]),
        ("192.0.2.79", &["endpoint", "rm", "late"]),
    ] {
        lab.host.address("uplink0", &format!("{ip}/24")).unwrap();
        lab.netfast_ok(command).unwrap();
        assert_eq!(lab.outside.tcp_ask(&format!("{ip}:8080"), PATIENCE).unwrap().by, "web", "{command:?}");
    }
}

#[test]
fn the_next_add_mends_the_bridge() {
    require_root!();
    for harm in [
        "link set BRIDGE down",
        "addr flush dev BRIDGE",
        "link del BRIDGE",
        "link set BRIDGE address 02:00:00:00:00:99",
    ] {
        let lab = Lab::new().unwrap();
        let plugin = dual(&lab);
        let old = plugin.container("old").unwrap();
        let before = old.add().unwrap();
        lab.host.ip(&harm.replace("BRIDGE", BRIDGE)).unwrap();
        let new = plugin.container("new").unwrap();
        let result = new.add().unwrap_or_else(|error| panic!("{harm}: {error:#}"));
        is_well(&lab, &new, &result, harm);
        is_well(&lab, &old, &before, harm);
    }
}

#[test]
fn the_next_add_makes_the_device_for_fragments_again() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let old = plugin.container("old").unwrap();
    old.add().unwrap();
    let device = |prefix: &str| lab.host.links().unwrap().into_iter().find(|name| name.starts_with(prefix));
    let fragments = device("nf0-").unwrap();
    lab.host.ip(&format!("link del {fragments}")).unwrap();
    let new = plugin.container("new").unwrap();
    let result = new.add().unwrap();
    assert_eq!(device("nf0-"), Some(fragments));
    is_well(&lab, &new, &result, "made after");
}

/// A container that died without a `DEL`: the path of its namespace means another one by now, or none.
#[test]
fn a_container_that_died_keeps_nobody_out() {
    require_root!();
    for is_another in [true, false] {
        let lab = Lab::new().unwrap();
        let plugin = dual(&lab);
        let (dead, other) = (plugin.container("dead").unwrap(), plugin.container("other").unwrap());
        let path = lab.dir().join("netns");
        std::os::unix::fs::symlink(dead.ns.path(), &path).unwrap();
        let netns = path.display().to_string();
        let added = plugin.call_with(&dead.variables("ADD", &netns), &plugin.config().to_string()).unwrap();
        assert_eq!(added.code, Some(0), "{added:?}");
        other.add().unwrap();
        std::fs::remove_file(&path).unwrap();
        if is_another {
            std::os::unix::fs::symlink(other.ns.path(), &path).unwrap();
        } else {
            std::fs::write(&path, "").unwrap();
        }
        dead.ns.ip("link del eth0").unwrap();
        lab.host.ip(&format!("link set {BRIDGE} down")).unwrap();
        let new = plugin.container("new").unwrap();
        let result = new.add().unwrap();
        is_well(&lab, &new, &result, "beside a dead one");
        let status = lab.netfast(&["status"]).unwrap().stdout;
        assert!(status.contains("endpoint dead is left out: its network namespace"), "{status}");
        let removed = plugin.call_with(&dead.variables("DEL", &netns), &plugin.config().to_string()).unwrap();
        assert_eq!(removed.code, Some(0), "{removed:?}");
        other.del().unwrap();
        new.del().unwrap();
        assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    }
}

/// The host has become one on which nothing can be put right: its network holds an address of the host.
#[test]
fn a_del_succeeds_where_the_host_cannot_be_put_right() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = dual(&lab);
    let web = plugin.container("web").unwrap();
    web.add().unwrap();
    lab.host.address("uplink0", "10.77.0.200/32").unwrap();
    web.del().unwrap();
    assert_eq!(web.ns.links().unwrap(), ["lo"]);
    let (_, message) = web.call("ADD").unwrap().failure().unwrap();
    assert!(message.contains("10.77.0.200, which is an address of this host"), "{message}");
    lab.host.ip("addr del 10.77.0.200/32 dev uplink0").unwrap();
    let result = web.add().unwrap();
    is_well(&lab, &web, &result, "put right");
}
