//! netfast under podman's CNI back end.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Machine, OUTSIDE_V4, Podman, require_runtimes};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

fn bridge() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "stock",
        "plugins": [
            {"type": "bridge", "bridge": "cni-stock", "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.89.0.0/24"}]]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "firewall"},
            {"type": "tuning"},
        ],
    })
}

/// What the tests of netfast rest on: that podman, its files and the lab's network are as on any machine.
#[test]
fn the_stock_plugins_work_here() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    machine.configure("10-stock.conflist", &bridge()).unwrap();
    let podman = Podman::new(&machine, "stock").unwrap();
    let web = podman.start("web", &["-p", "8080:80"]).unwrap();
    let _server = web.tcp_serve("0.0.0.0:80").unwrap();
    for (who, address) in [(&lab.host, "127.0.0.1"), (&lab.host, HOST_V4), (&lab.outside, HOST_V4), (&web, HOST_V4)] {
        assert_eq!(who.tcp_ask(&format!("{address}:8080"), 5 * SECOND).unwrap().by, "web");
    }
    let _outside = lab.outside.tcp_serve("0.0.0.0:81").unwrap();
    let reply = web.tcp_ask(&format!("{OUTSIDE_V4}:81"), 5 * SECOND).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), HOST_V4);
    podman.remove("web").unwrap();
    assert!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).is_err());
    let _ = HOST_V6;
}
