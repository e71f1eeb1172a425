//! Several addresses of a family that other plugins give: one that netfast asks for addresses, and one that has made the
//! interface before it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use netfast_tests::{
    Chain, HOST_V4, HOST_V6, Lab, Member, Ns, OUTSIDE_V6, STOCK_PLUGINS, require_stock_plugins,
};
use serde_json::{Value, json};

/// Long enough for everything that is to happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(400);

/// The addresses of a result, without the lengths of their prefixes.
fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().split_once('/').unwrap().0.parse().unwrap()).collect()
}

fn ask(from: &Ns, own: IpAddr, to: IpAddr, patience: Duration) -> io::Result<String> {
    let to = SocketAddr::new(to, 80).to_string();
    let mut conversation = from.tcp_connect_from(Some(SocketAddr::new(own, 0)), &to, patience)?;
    Ok(conversation.ask()?.seen_source.ip().to_string())
}

#[track_caller]
fn reaches(from: &Ns, own: IpAddr, to: IpAddr) -> String {
    ask(from, own, to, PATIENCE).unwrap_or_else(|e| panic!("{own} to {to}: {e}"))
}

#[track_caller]
fn does_not_reach(from: &Ns, own: IpAddr, to: IpAddr) {
    let kind = ask(from, own, to, SHORT).unwrap_err().kind();
    assert!(matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{own} to {to}: {kind}");
}

/// How `host-local` gives addresses of these sets.
fn host_local(lab: &Lab, ranges: &Value) -> Value {
    json!({"type": "host-local", "dataDir": lab.dir().join("ipam"), "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
}

/// What `host-local` keeps as given.
fn reserved(lab: &Lab) -> Vec<String> {
    let files = fs::read_dir(lab.dir().join("ipam/lab")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
}

#[test]
fn host_local_gives_three() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let ranges = json!([[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}], [{"subnet": "fd78::/64"}]]);
    let plugin = lab.plugin(&json!({"ipam": host_local(&lab, &ranges)})).with_path(Path::new(STOCK_PLUGINS));
    let (web, client) = (plugin.container("web").unwrap(), plugin.container("client").unwrap());
    let (web_result, client_result) = (web.add().unwrap(), client.add().unwrap());
    let _serves = web.ns.tcp_serve("[::]:80").unwrap();
    let pairs: Vec<_> = addresses(&client_result).into_iter().zip(addresses(&web_result)).collect();
    assert_eq!(pairs.len(), 3, "{client_result}");
    for (own, to) in &pairs {
        assert_eq!(reaches(&client.ns, *own, *to), own.to_string());
    }
    for (container, result) in [(&web, &web_result), (&client, &client_result)] {
        assert_eq!(container.check(result).unwrap().ok().unwrap(), "");
        assert_eq!(addresses(&lab_view(&lab, &container.id)), addresses(result));
        container.del().unwrap();
    }
    assert_eq!(reserved(&lab), [""; 0]);
}

/// What netfast tells of an endpoint's addresses, in the form of a result.
fn lab_view(lab: &Lab, id: &str) -> Value {
    let about = lab.inspect(id).unwrap();
    let first = [&about["ip"], &about["ip6"]];
    let all = first.into_iter().chain(about["more"].as_array().unwrap());
    let ips = all.filter_map(Value::as_str).map(|ip| json!({"address": format!("{ip}/0")}));
    json!({"ips": ips.collect::<Vec<_>>()})
}

#[test]
fn host_local_goes_on_with_another_subnet() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let ranges = json!([[
        {"subnet": "10.10.0.0/16", "rangeStart": "10.10.1.20", "rangeEnd": "10.10.1.20", "gateway": "10.10.0.254"},
        {"subnet": "172.16.5.0/24"},
    ]]);
    let plugin = lab.plugin(&json!({"ipam": host_local(&lab, &ranges)})).with_path(Path::new(STOCK_PLUGINS));
    let (web, client) = (plugin.container("web").unwrap(), plugin.container("client").unwrap());
    let (web_result, client_result) = (web.add().unwrap(), client.add().unwrap());
    let _serves = web.ns.tcp_serve("[::]:80").unwrap();
    let (to, own) = (addresses(&web_result)[0], addresses(&client_result)[0]);
    assert_eq!((to.to_string(), own.to_string()), ("10.10.1.20".into(), "172.16.5.2".into()));
    assert_eq!(client_result["ips"][0]["gateway"], "172.16.5.1");
    assert_eq!(reaches(&client.ns, own, to), own.to_string());
    web.del().unwrap();
    client.del().unwrap();
    assert_eq!(reserved(&lab), [""; 0]);
}

fn chain<'a>(lab: &'a Lab, more: &Value) -> Chain<'a> {
    let ranges = json!([[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd88::/64"}], [{"subnet": "fd89::/64"}]]);
    // Its masquerade of two addresses of a family is not undone by its DEL.
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
        "ipam": host_local(lab, &ranges)});
    let mut netfast = json!({"type": "netfast", "capabilities": {"portMappings": true}});
    netfast.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    lab.chain(&[bridge, netfast])
}

#[test]
fn behind_a_bridge_all_addresses_are_the_endpoints() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let _outside = lab.outside.tcp_serve("[::]:80").unwrap();
    let plain = chain(&lab, &json!({}));
    let published = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let published = plain.with_runtime(published);
    let (web, client) = (published.add("web").unwrap(), plain.add("client").unwrap());
    let _serves = web.ns.tcp_serve("[::]:80").unwrap();
    let of = |member: &Member| addresses(&member.result);
    assert_eq!(addresses(&lab_view(&lab, "web")), of(&web));
    for (own, to) in of(&client).into_iter().zip(of(&web)) {
        assert_eq!(reaches(&client.ns, own, to), own.to_string());
        assert_eq!(lab.host.tcp_ask(&SocketAddr::new(to, 80).to_string(), PATIENCE).unwrap().by, "web");
    }
    lab.outside.ip(&format!("route add fd89::/64 via {HOST_V6}")).unwrap();
    let second = of(&client)[2];
    assert_eq!(reaches(&client.ns, second, OUTSIDE_V6.parse().unwrap()), second.to_string());
    for host in [HOST_V4.to_owned(), format!("[{HOST_V6}]")] {
        assert_eq!(lab.outside.tcp_ask(&format!("{host}:8080"), PATIENCE).unwrap().by, "web");
        assert_eq!(web.ns.tcp_ask(&format!("{host}:8080"), PATIENCE).unwrap().by, "web");
    }
    plain.ask_netfast("CHECK", &client).unwrap();
    published.ask_netfast("CHECK", &web).unwrap();
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["problems"], json!([]));
    // What it is not given is not its own.
    client.ns.ip("address add fd89::77/64 dev eth0 nodad").unwrap();
    does_not_reach(&client.ns, "fd89::77".parse().unwrap(), of(&web)[2]);
    published.del(&web).unwrap();
    plain.del(&client).unwrap();
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    assert_eq!(lab.netfast_json(&["status"]).unwrap()["problems"], json!([]));
}

#[test]
fn behind_a_bridge_policies_are_about_each_address() {
    require_stock_plugins!();
    let lab = Lab::new().unwrap();
    let directory = lab.dir().join("policies.d");
    fs::create_dir_all(&directory).unwrap();
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: it}, spec: \
        {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 'fd89::/64'}}]}]}}";
    fs::write(directory.join("it.yaml"), policy).unwrap();
    let served = chain(&lab, &json!({"policyDir": &directory, "labels": {"app": "web"}}));
    let asking = chain(&lab, &json!({"policyDir": &directory}));
    let (web, client) = (served.add("web").unwrap(), asking.add("client").unwrap());
    let _serves = web.ns.tcp_serve("[::]:80").unwrap();
    let (own, to) = (addresses(&client.result), addresses(&web.result));
    reaches(&client.ns, own[2], to[2]);
    reaches(&client.ns, own[2], to[1]);
    does_not_reach(&client.ns, own[1], to[2]);
    does_not_reach(&client.ns, own[1], to[1]);
    does_not_reach(&client.ns, own[0], to[0]);
}
