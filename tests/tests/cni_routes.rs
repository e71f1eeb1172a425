//! Routes inside containers, with all that a configuration may say of them.

use netfast_tests::{Lab, require_root};
use serde_json::json;

#[test]
fn routes_are_as_they_are_said_to_be() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = lab.plugin(&json!({"cniVersion": "1.1.0", "ipam": {
        "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]],
        "routes": [
            {"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1300},
            {"dst": "198.51.100.0/24", "gw": "10.77.0.9", "priority": 77},
            {"dst": "203.0.113.0/24", "table": 1000, "mtu": 1300},
            {"dst": "203.0.114.0/24", "scope": 253},
            {"dst": "2001:db8:7::/64", "mtu": 1290, "priority": 55, "table": 100},
        ],
    }}));
    let container = plugin.container("c1").unwrap();
    let result = container.add().unwrap();
    assert_eq!(
        result["routes"],
        json!([
            {"dst": "::/0", "gw": "fd77::1"},
            {"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1300},
            {"dst": "198.51.100.0/24", "gw": "10.77.0.9", "priority": 77},
            {"dst": "203.0.113.0/24", "mtu": 1300, "table": 1000},
            {"dst": "203.0.114.0/24", "scope": 253},
            {"dst": "2001:db8:7::/64", "mtu": 1290, "priority": 55, "table": 100},
        ])
    );
    let told = |arguments: &str| container.ns.ip(arguments).unwrap();
    for (arguments, wanted) in [
        ("route show default", &["via 10.77.0.1 dev eth0", "mtu 1400", "advmss 1300"][..]),
        ("route get 192.0.2.99", &["via 10.77.0.1", "mtu 1400", "advmss 1300"]),
        ("route show 198.51.100.0/24", &["via 10.77.0.9", "metric 77"]),
        ("-d route show table 1000", &["203.0.113.0/24 via 10.77.0.1", "mtu 1300", "scope global"]),
        ("-d route show 203.0.114.0/24", &["dev eth0", "scope link"]),
        ("-6 route show table 100", &["2001:db8:7::/64 via fd77::1", "metric 55", "mtu 1290"]),
    ] {
        let told = told(arguments);
        for wanted in wanted {
            assert!(told.contains(wanted), "{arguments}: {wanted} is not in {told}");
        }
    }
    assert_eq!(told("route show default").lines().count(), 1);
    assert_eq!(container.check(&result).unwrap().ok().unwrap(), "");

    // The same in the words of an older version, which tell less; CHECK sees it all the same.
    let older = plugin.with(&json!({"cniVersion": "1.0.0"})).container("c2").unwrap();
    let result = older.add().unwrap();
    assert_eq!(result["routes"][3], json!({"dst": "203.0.113.0/24"}));
    assert_eq!(older.check(&result).unwrap().ok().unwrap(), "");
    older.ns.ip("route replace 203.0.113.0/24 via 10.77.0.1 dev eth0 table 1000 mtu 1200").unwrap();
    let (code, message) = older.check(&result).unwrap().failure().unwrap();
    assert_eq!(
        (code, message.as_str()),
        (101, "the route to 203.0.113.0/24 has another mtu, advmss, priority, table or scope")
    );
}
