//! netfast under containerd, as `ctr run --cni` calls it.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{Containerd, HOST_V4, Lab, Machine, OUTSIDE_V4, require_runtimes};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

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
    let reply = web.tcp_ask(&format!("{OUTSIDE_V4}:81"), 5 * SECOND).unwrap();
    assert_eq!(reply.seen_source.ip().to_string(), HOST_V4);
    drop(web);
    task.end().unwrap();
}
