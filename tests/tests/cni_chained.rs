//! netfast after other people's plugins, as they are: their devices, addresses, routes and masquerade, and netfast's policies,
//! published ports and connections.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::fs;
use std::time::Duration;

use netfast_tests::{
    Chain, HOST_V4, HOST_V6, Lab, Member, Ns, OUTSIDE_V4, OUTSIDE_V6, address, eventually,
    require_stock_plugins,
};
use serde_json::{Value, json};

/// Long enough for everything that is to happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(400);

const SUBNETS: [&str; 2] = ["10.88.0.0/24", "fd88::/64"];

/// A bridge with addresses, that routes and masquerades.
fn bridge(lab: &Lab) -> Value {
    json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": lab.host_local(&SUBNETS)})
}

fn ptp(lab: &Lab) -> Value {
    json!({"type": "ptp", "ipMasq": true, "ipam": lab.host_local(&SUBNETS)})
}

fn netfast() -> Value {
    json!({"type": "netfast", "capabilities": {"portMappings": true, "bandwidth": true}})
}

fn with(mut plugin: Value, more: &Value) -> Value {
    let more = more.as_object().cloned().unwrap_or_default();
    plugin.as_object_mut().unwrap().extend(more);
    plugin
}

fn portmap() -> Value {
    json!({"type": "portmap", "capabilities": {"portMappings": true}})
}

/// Both addresses, as they stand in front of a port.
fn both(member: &Member) -> [String; 2] {
    [address(&member.result, 4).unwrap(), format!("[{}]", address(&member.result, 6).unwrap())]
}

fn port_8080() -> Value {
    json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]})
}

#[track_caller]
fn reaches(from: &Ns, to: &str, who: &str) -> String {
    let reply = from.tcp_ask(to, PATIENCE).unwrap_or_else(|e| panic!("{} to {to}: {e}", from.name()));
    assert_eq!(reply.by, who, "{} to {to}", from.name());
    reply.seen_source.ip().to_string()
}

#[track_caller]
fn does_not_reach(from: &Ns, to: &str) {
    let kind = from.tcp_ask(to, SHORT).unwrap_err().kind();
    let is_dropped = matches!(kind, std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock);
    assert!(is_dropped, "{} to {to}: {kind}", from.name());
}

/// Frames that the host's end of a pair was sent by the stack or the bridge, or by a redirection out of it.
fn sent_by_veth(lab: &Lab, member: &Member) -> u64 {
    let name = lab.netfast_json(&["endpoint", "inspect", &member.id]).unwrap()["host_ifname"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.host.counters().unwrap()[&name].tx_packets
}

/// A directory of policies with one of this specification.
fn policies(lab: &Lab, specification: &str) -> String {
    let dir = lab.dir().join("policies");
    fs::create_dir_all(&dir).unwrap();
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: it}}\nspec: {specification}\n"
    );
    fs::write(dir.join("it.yaml"), policy).unwrap();
    dir.display().to_string()
}

/// What holds after every plugin that makes a veth pair.
fn everything_works(lab: &Lab, chain: &Chain<'_>) {
    let published = chain.with_runtime(port_8080());
    let (web, client) = (published.add("web").unwrap(), chain.add("client").unwrap());
    let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let _udp = web.ns.udp_serve(&format!("{}:80", both(&web)[0])).unwrap();

    // Each other, with the addresses they have; the host and its own processes.
    for (to, own) in both(&web).iter().zip(both(&client)) {
        assert_eq!(reaches(&client.ns, &format!("{to}:80"), "web"), own.replace(['[', ']'], ""));
        reaches(&lab.host, &format!("{to}:80"), "web");
    }
    // Outside, by the other plugin's routes and masquerade.
    for (outside, host) in [(OUTSIDE_V4.to_owned(), HOST_V4), (format!("[{OUTSIDE_V6}]"), HOST_V6)] {
        assert_eq!(reaches(&client.ns, &format!("{outside}:80"), "outside"), host);
    }
    // The published port, from everywhere.
    let v6 = format!("[{HOST_V6}]");
    for from in [&lab.outside, &lab.host, &client.ns, &web.ns] {
        reaches(from, &format!("{HOST_V4}:8080"), "web");
        reaches(from, &format!("{v6}:8080"), "web");
    }
    reaches(&lab.host, "127.0.0.1:8080", "web");
    let reply = lab.outside.udp_ask(&format!("{HOST_V4}:8080"), PATIENCE).unwrap();
    assert_eq!((reply.by.as_str(), reply.seen_source.ip().to_string().as_str()), ("web", OUTSIDE_V4));

    // Two of them are redirected past bridge and routes.
    let before = sent_by_veth(lab, &web);
    for to in both(&web) {
        client.ns.tcp_stream(&format!("{to}:80"), 400_000, PATIENCE).unwrap();
    }
    let met = sent_by_veth(lab, &web) - before;
    assert!(met < 20, "{met} packets met the host's end");

    chain.ask_netfast("CHECK", &client).unwrap();
    published.ask_netfast("CHECK", &web).unwrap();
    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert!(list.contains("web") && list.contains("client"), "{list}");
    lab.netfast_ok(&["status"]).unwrap();
    lab.netfast_ok(&["policy", "explain", "--from", "client", "--to", "web"]).unwrap();

    // DEL, from the last to the first: what is theirs is theirs to remove.
    published.del(&web).unwrap();
    chain.del(&client).unwrap();
    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert!(!list.contains("web") && !list.contains("client"), "{list}");
    let links = lab.host.links().unwrap();
    assert!(!links.iter().any(|link| link.starts_with("veth")), "{links:?}");
    assert!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SHORT).is_err());
}

#[test]
fn after_bridge() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    everything_works(&lab, &lab.chain(&[bridge(&lab), netfast()]));
}

#[test]
fn after_ptp() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    everything_works(&lab, &lab.chain(&[ptp(&lab), netfast()]));
}

#[test]
fn with_portmap_before_and_after() {
    require_stock_plugins!();
    for order in [[portmap(), netfast()], [netfast(), portmap()]] {
        let lab = Lab::new().unwrap();
        everything_works(&lab, &lab.chain(&[&[bridge(&lab)][..], &order].concat()));
    }
}

#[test]
fn policies_hold_in_both_directions_from_the_first_packet_on() {
    require_stock_plugins!();
    for first in [bridge, ptp] {
        let lab = Lab::new().unwrap();
        let spec = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80}]}], egress: []}";
        let directory = policies(&lab, spec);
        let own = |app: &str| with(netfast(), &json!({"policyDir": directory, "labels": {"app": app}}));
        let chain = |app: &str| lab.chain(&[first(&lab), own(app)]);
        let web = chain("web").with_runtime(port_8080()).add("web").unwrap();
        let friend = chain("friend").add("friend").unwrap();
        let foe = chain("foe").add("foe").unwrap();
        let servers: Vec<_> = [&web.ns, &friend.ns, &lab.outside]
            .into_iter()
            .map(|ns| (ns.tcp_serve("[::]:80").unwrap(), ns.tcp_serve("[::]:81").unwrap()))
            .collect();
        for to in both(&web) {
            reaches(&friend.ns, &format!("{to}:80"), "web");
            does_not_reach(&friend.ns, &format!("{to}:81"));
            does_not_reach(&foe.ns, &format!("{to}:80"));
            reaches(&lab.host, &format!("{to}:80"), "web");
        }
        does_not_reach(&lab.outside, &format!("{HOST_V4}:8080"));
        reaches(&friend.ns, &format!("{HOST_V4}:8080"), "web");
        does_not_reach(&foe.ns, &format!("{HOST_V4}:8080"));
        for to in both(&friend).into_iter().chain([OUTSIDE_V4.to_owned(), format!("[{OUTSIDE_V6}]")]) {
            does_not_reach(&web.ns, &format!("{to}:80"));
            reaches(&foe.ns, &format!("{to}:80"), if to.contains("88") { "friend" } else { "outside" });
        }
        // By the host's routes, with an address of its own: the other plugin's routing lets it in, policy does not.
        lab.outside.ip(&format!("route add 10.88.0.0/24 via {HOST_V4}")).unwrap();
        does_not_reach(&lab.outside, &format!("{}:80", both(&web)[0]));
        reaches(&lab.outside, &format!("{}:80", both(&friend)[0]), "friend");
        drop(servers);
    }
}

#[test]
fn somebody_elses_container_on_the_bridge_is_outside() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let bare = lab.chain(&[bridge(&lab)]);
    let other = bare.add("other").unwrap();
    let spec = "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}";
    let own = with(netfast(), &json!({"policyDir": policies(&lab, spec)}));
    let web = lab.chain(&[bridge(&lab), own]).with_runtime(port_8080()).add("web").unwrap();
    let _tcp = [80, 81].map(|port| web.ns.tcp_serve(&format!("[::]:{port}")).unwrap());
    let _other = other.ns.tcp_serve("[::]:80").unwrap();
    for (to, back) in both(&web).iter().zip(both(&other)) {
        reaches(&other.ns, &format!("{to}:80"), "web");
        does_not_reach(&other.ns, &format!("{to}:81"));
        reaches(&web.ns, &format!("{back}:80"), "other");
    }
    reaches(&other.ns, &format!("{HOST_V4}:8080"), "web");
    // It does not get in as one of ours, whatever address it gives itself.
    let friend = lab.chain(&[bridge(&lab), netfast()]).add("friend").unwrap();
    other.ns.ip(&format!("address add {}/24 dev eth0", both(&friend)[0])).unwrap();
    let from = format!("{}:0", both(&friend)[0]).parse().unwrap();
    let to = format!("{}:80", both(&web)[0]);
    assert!(other.ns.tcp_connect_from(Some(from), &to, SHORT).is_err());
    eventually("the lie is counted", || {
        lab.drops("web").unwrap().get("spoofed_address").is_some_and(|count| *count > 0)
    });
}

#[test]
fn a_firewall_that_forwards_nothing_is_not_met_between_two() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let chain = lab.chain(&[bridge(&lab), netfast()]);
    let (web, client) = (chain.add("web").unwrap(), chain.add("client").unwrap());
    for iptables in ["iptables", "ip6tables"] {
        let done = lab.host.finish(iptables, &["-P", "FORWARD", "DROP"], PATIENCE).unwrap();
        assert!(done.success(), "{}", done.stderr);
    }
    let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
    for to in both(&web) {
        reaches(&client.ns, &format!("{to}:80"), "web");
    }
}

#[test]
fn other_devices_are_refused_by_their_kind() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let macvlan = json!({"type": "macvlan", "master": "uplink0", "ipam": lab.host_local(&["192.0.2.0/24"])});
    let error = lab.chain(&[macvlan, netfast()]).add("c").unwrap_err().to_string();
    assert!(
        error.contains(r#""code":7"#)
            && error.contains(
                "endpoint c: eth0 is a macvlan device (only one end of a veth pair can be taken on)"
            ),
        "{error}"
    );
    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert!(!list.contains(" c "), "{list}");
}

#[test]
fn the_result_goes_through_untouched_in_every_version() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    // Kept, as a namespace is: another file may get the number of one that is closed.
    let mut kept = Vec::new();
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let id = format!("c-{}", version.replace('.', "-"));
        let ns = Ns::new(&id).unwrap();
        let alone = lab.chain(&[bridge(&lab)]).with_version(version).add_to(&ns, &id).unwrap();
        let mut previous = alone.result.clone();
        // What netfast does not know of is not its to drop.
        previous["interfaces"][0]["somethingNew"] = 7.into();
        let member = Member { result: previous.clone(), ..alone };
        let own = lab.chain(&[netfast()]).with_version(version);
        let printed: Value = serde_json::from_str(&own.ask_netfast("ADD", &member).unwrap()).unwrap();
        assert_eq!(printed, previous);
        if version != "0.3.1" {
            own.ask_netfast("CHECK", &member).unwrap();
        }
        kept.push(member);
    }
}

#[test]
fn what_the_result_says_and_what_is_there_must_agree() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let ns = Ns::new("c").unwrap();
    let member = lab.chain(&[bridge(&lab)]).add_to(&ns, "c").unwrap();
    let own = lab.chain(&[netfast()]);
    let told = |change: &dyn Fn(&mut Value)| {
        let mut result = member.result.clone();
        change(&mut result);
        own.ask_netfast("ADD", &Member { result, ..member.clone() }).unwrap_err().to_string()
    };
    let error = told(&|result| result["ips"][0]["address"] = "10.88.0.200/24".into());
    assert!(error.contains("eth0 does not have the address 10.88.0.200 (it has 10.88.0.2/24"), "{error}");
    let error = told(&|result| result["interfaces"][2]["mac"] = "02:00:00:00:00:01".into());
    assert!(error.contains("prevResult has 02:00:00:00:00:01 for eth0, which has "), "{error}");
    let error = told(&|result| result["interfaces"] = json!([]));
    assert!(error.contains("prevResult has no interface eth0 in a container"), "{error}");
    // None of that has left anything, so that the right one works.
    own.ask_netfast("ADD", &member).unwrap();
}

#[test]
fn del_works_whatever_is_left() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let first = lab.chain(&[bridge(&lab)]);
    let chain = lab.chain(&[bridge(&lab), netfast()]);
    let _stays = chain.add("stays").unwrap();
    let endpoints = || lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len();
    assert_eq!(endpoints(), 1);
    // Twice, with all there.
    let member = chain.add("c1").unwrap();
    for _ in 0..2 {
        chain.ask_netfast("DEL", &member).unwrap();
        assert_eq!(endpoints(), 1);
    }
    let links = lab.host.links().unwrap();
    assert_eq!(links.iter().filter(|link| link.starts_with("veth")).count(), 2, "they are theirs to remove");
    member.ns.ip("link show eth0").unwrap();
    // The veth gone, then the namespace too; without the result.
    let member = chain.add("c2").unwrap();
    first.del(&member).unwrap();
    chain.ask_netfast("DEL", &Member { result: Value::Null, ..member }).unwrap();
    assert_eq!(endpoints(), 1);
    let member = chain.add("c3").unwrap();
    let gone = Member { ns: lab.outside.clone(), id: member.id.clone(), result: Value::Null };
    drop(member);
    chain.ask_netfast("DEL", &gone).unwrap();
    assert_eq!(endpoints(), 1);
    // Others can be added while one is lost, and it can be removed then.
    let lost = chain.add("c4").unwrap();
    first.del(&lost).unwrap();
    let member = chain.add("c5").unwrap();
    chain.del(&member).unwrap();
    chain.ask_netfast("DEL", &lost).unwrap();
    assert_eq!(endpoints(), 1);
}

#[test]
fn status_and_gc_know_them() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let chain = lab.chain(&[bridge(&lab), netfast()]);
    let (keep, gone) = (chain.add("keep").unwrap(), chain.add("lost").unwrap());
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "keep", "ifname": "eth0"}]});
    let newest = lab.chain(&[with(netfast(), &valid)]).with_version("1.1.0");
    let nobody = Member { result: Value::Null, ..keep.clone() };
    newest.ask_netfast("STATUS", &nobody).unwrap();
    newest.ask_netfast("GC", &nobody).unwrap();
    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert!(list.contains("keep") && !list.contains("lost"), "{list}");
    gone.ns.ip("link show eth0").unwrap();
    chain.ask_netfast("CHECK", &keep).unwrap();
    let error = chain.ask_netfast("CHECK", &gone).unwrap_err().to_string();
    assert!(error.contains(r#""code":3"#), "{error}");
}

#[test]
fn they_and_networks_of_its_own_meet_by_published_ports_only() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let world = "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {own: {network: lab}}\n";
    let file = lab.file("netfast.yaml", world).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let chain = lab.chain(&[bridge(&lab), netfast()]).with_runtime(port_8080());
    let web = chain.add("web").unwrap();
    let own = lab.endpoint_ns("own").unwrap();
    let _servers = [&web.ns, &own].map(|ns| ns.tcp_serve("[::]:80").unwrap());
    reaches(&own, &format!("{HOST_V4}:8080"), "web");
    does_not_reach(&own, &format!("{}:80", both(&web)[0]));
    does_not_reach(&web.ns, "10.77.0.2:80");
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    reaches(&own, &format!("{HOST_V4}:8080"), "web");
}

#[test]
fn down_leaves_devices_as_they_were_found() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let chain = lab.chain(&[bridge(&lab), netfast()]);
    let (web, client) = (chain.add("web").unwrap(), chain.add("client").unwrap());
    lab.down().unwrap();
    let _tcp = web.ns.tcp_serve("[::]:80").unwrap();
    for to in both(&web) {
        reaches(&client.ns, &format!("{to}:80"), "web");
    }
    let is_theirs = |left: &String| left == "cni0" || left.starts_with("veth");
    let (theirs, ours): (Vec<_>, Vec<_>) = lab.leftovers().unwrap().into_iter().partition(is_theirs);
    assert_eq!((theirs.len(), ours), (3, Vec::new()));
}
