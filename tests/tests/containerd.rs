//! netfast under containerd, as `ctr run --cni` calls it: with an empty namespace on removal.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use netfast_tests::{Containerd, HOST_V4, Lab, Machine, OUTSIDE_V4, require_runtimes};
use serde_json::{Value, json};

/// The machine is busy with other tests.
const LONG: Duration = Duration::from_secs(10);
const NONE: [String; 0] = [];

/// What the test of netfast rests on: containerd, its files and the lab's network are as on any machine.
#[test]
fn the_stock_plugins_work_here() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "stock",
        "plugins": [{
            "type": "bridge", "bridge": "cni-stock", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.89.0.0/24"}]]}
        }],
    });
    machine.configure("10-stock.conflist", &list).unwrap();
    let containerd = Containerd::start(&machine).unwrap();
    let task = containerd.run("web").unwrap();
    let web = task.ns().unwrap();
    let _outside = lab.outside.tcp_serve("0.0.0.0:81").unwrap();
    let reply = web.tcp_ask(&format!("{OUTSIDE_V4}:81"), LONG).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), HOST_V4);
    drop(web);
    task.end().unwrap();
}

#[test]
fn as_it_is_installed() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    // The lab has put it there for others; here it is to come where every runtime looks.
    fs::remove_file(machine.plugins.join("netfast")).unwrap();
    lab.netfast_ok(&["cni", "install"]).unwrap();
    let containerd = Containerd::start(&machine).unwrap();
    let (web_task, client_task) = (containerd.run("web").unwrap(), containerd.run("client").unwrap());
    let (web, client) = (web_task.ns().unwrap(), client_task.ns().unwrap());
    let endpoints: Value = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let address = |name: &str| -> IpAddr {
        let endpoints = endpoints.as_array().unwrap();
        let endpoint = endpoints.iter().find(|e| e["name"].as_str().unwrap().contains(name)).unwrap();
        endpoint["ip"].as_str().unwrap().parse().unwrap()
    };
    let _servers = [web.tcp_serve("[::]:80").unwrap(), lab.outside.tcp_serve("[::]:80").unwrap()];
    assert_eq!(client.tcp_ask(&format!("{}:80", address("web")), LONG).unwrap().by, "web");
    let reply = client.tcp_ask(&format!("{OUTSIDE_V4}:80"), LONG).unwrap();
    assert_eq!((reply.by.as_str(), reply.seen_source.ip().to_string().as_str()), ("outside", HOST_V4));
    drop((web, client));
    web_task.end().unwrap();
    client_task.end().unwrap();
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    lab.netfast_ok(&["cni", "uninstall", "--down"]).unwrap();
    assert!(!machine.plugins.join("netfast").exists());
    assert_eq!(fs::read_dir(&machine.configurations).unwrap().count(), 0);
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
