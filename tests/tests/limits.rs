//! Sizes of the maps and the range for masquerade, as `netfast.yaml` sets them.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{HOST_V4, Lab, OUTSIDE_V4, require_root, udp_ask_on};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];
const SHORT: Duration = Duration::from_millis(100);

const MANIFEST: &str = "
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {publish: ['8080:80']}, client: {}}
";

fn map<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["maps"].as_array().unwrap().iter().find(|map| map["name"] == name).unwrap()
}

/// Tries a manifest that is to be refused, and returns why.
fn refused(lab: &Lab, manifest: &str) -> String {
    let file = lab.file("refused.yaml", manifest).unwrap();
    let done = lab.netfast(&["up", "-d", "-f", &file]).unwrap();
    assert!(!done.success(), "{done:?}");
    done.stderr
}

#[test]
fn a_default_instance_is_small_and_tells_what_is_used() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let status = lab.netfast_json(&["status"]).unwrap();
    let maps = status["maps"].as_array().unwrap();
    let bytes: u64 = maps.iter().map(|map| map["bytes"].as_u64().unwrap()).sum();
    eprintln!("{} KiB in {} maps", bytes >> 10, maps.len());
    assert!(bytes < 64 << 20, "{bytes} bytes: {maps:#?}");
    assert_eq!(map(&status, "NF_FLOW")["size"], 131_072);
    assert!(map(&status, "NF_FLOW")["bytes"].as_u64().unwrap() > 131_072 * 100);
    assert_eq!(map(&status, "NF_ENDPOINT")["used"], 2);
    assert_eq!(map(&status, "NF_CONFIG")["used"], Value::Null);

    let before = map(&status, "NF_NURSERY")["used"].as_u64().unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let client = lab.endpoint_ns("client").unwrap();
    let _server = web.udp_serve("10.77.0.3:53").unwrap();
    for _ in 0..300 {
        client.udp_ask("10.77.0.3:53", SECOND).unwrap();
    }
    let status = lab.netfast_json(&["status"]).unwrap();
    let used = map(&status, "NF_NURSERY")["used"].as_u64().unwrap() - before;
    assert!((290..320).contains(&used), "{used} flows");
    let text = lab.netfast_ok(&["status"]).unwrap();
    assert!(text.contains("flows") && text.contains("all maps") && text.contains(" MiB"), "{text}");
}

#[test]
fn sizes_are_those_of_the_file_and_stay() {
    require_root!();
    let lab = Lab::new().unwrap();
    let small = format!("{MANIFEST}limits: {{flows: 256, denied: 4, rules: 64}}\n");
    lab.up(&small).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.tcp_serve("[::]:80").unwrap();
    let mut open = lab.outside.tcp_connect(&format!("{HOST_V4}:8080"), SECOND).unwrap();
    // Later commands know the sizes.
    lab.netfast_ok(&["endpoint", "add", "third"]).unwrap();
    let status = lab.netfast_json(&["status"]).unwrap();
    for (name, size) in [("NF_FLOW", 256), ("NF_DENY", 4), ("NF_RULE", 64), ("NF_CIDR", 65536)] {
        assert_eq!(map(&status, name)["size"], size, "{name}");
    }
    for (limits, wanted) in [
        (
            "{flows: 512, denied: 4, rules: 64}",
            "limits.flows cannot become 512 while the instance is up: it was made with 256 (run `netfast down` first)",
        ),
        (
            "{flows: 256, denied: 5, rules: 64}",
            "limits.denied cannot become 5 while the instance is up: it was made with 4 ",
        ),
        (
            "{flows: 256, denied: 4}",
            "limits.rules cannot become 262144 while the instance is up: it was made with 64 ",
        ),
    ] {
        let told = refused(&lab, &format!("{MANIFEST}limits: {limits}\n"));
        assert!(told.contains(wanted), "{told}");
        open.ask().unwrap();
    }
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 3);

    // A full table is told, and nothing is changed.
    for i in 1..=4 {
        lab.netfast_ok(&["deny", "add", &format!("198.51.100.{i}")]).unwrap();
    }
    let done = lab.netfast(&["deny", "add", "198.51.100.5"]).unwrap();
    let wanted = "the map NF_DENY is full: it holds 4 rows (raise limits.denied in netfast.yaml, which takes a `netfast down` first)";
    assert!(done.stderr.contains(wanted), "{done:?}");
    assert_eq!(lab.netfast_json(&["deny", "ls"]).unwrap().as_array().unwrap().len(), 4);

    // More flows than fit: the oldest give way, and new ones go on.
    let client = lab.endpoint_ns("client").unwrap();
    let _udp = web.udp_serve("10.77.0.3:53").unwrap();
    for _ in 0..1000 {
        client.udp_ask("10.77.0.3:53", SECOND).unwrap();
    }

    // After `down` other sizes are fine.
    lab.down().unwrap();
    lab.up(&format!("{MANIFEST}limits: {{flows: 512}}\n")).unwrap();
    assert_eq!(map(&lab.netfast_json(&["status"]).unwrap(), "NF_FLOW")["size"], 512);
}

#[test]
fn rules_and_endpoints_beyond_the_limits_are_refused() {
    require_root!();
    let lab = Lab::new().unwrap();
    let ports: Vec<_> = (0..9).map(|i| format!("{{port: {}}}", 80 + 2 * i)).collect();
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{}}, \
         ingress: [{{ports: [{}]}}]}}\n",
        ports.join(", ")
    );
    lab.file("policy.yaml", &policy).unwrap();
    let with = |rules| format!("{MANIFEST}policies: [policy.yaml]\nlimits: {{rules: {rules}}}\n");
    let told = refused(&lab, &with(16));
    assert!(told.contains("limits.rules"), "{told}");
    lab.up(&with(64)).unwrap();
    lab.down().unwrap();
    let told = refused(&lab, &format!("{MANIFEST}limits: {{endpoints: 1}}\n"));
    assert!(told.contains("raise limits.endpoints"), "{told}");
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn a_range_for_masquerade_runs_out_and_can_be_widened() {
    require_root!();
    let lab = Lab::new().unwrap();
    let with = |range| format!("{MANIFEST}masquerade: {{ports: {range}}}\n");
    lab.up(&with("20000-20003")).unwrap();
    let client = lab.endpoint_ns("client").unwrap();
    let _server = lab.outside.udp_serve(&format!("{OUTSIDE_V4}:53")).unwrap();
    let connect = || client.udp_connect(None, &format!("{OUTSIDE_V4}:53")).unwrap();
    let ask = |socket: &_, timeout| udp_ask_on(socket, 100, timeout);
    let open: Vec<_> = (0..4).map(|_| connect()).collect();
    let mut seen: Vec<_> = open.iter().map(|s| ask(s, SECOND).unwrap().seen_source.port()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [20000, 20001, 20002, 20003]);
    let fifth = connect();
    ask(&fifth, SHORT).unwrap_err();
    assert!(lab.dropped("client", "masquerade_exhausted").unwrap() >= 1);

    lab.up(&with("20000-20010")).unwrap();
    let port = ask(&fifth, SECOND).unwrap().seen_source.port();
    assert!((20004..=20010).contains(&port), "{port}");
    let mut again: Vec<_> = open.iter().map(|s| ask(s, SECOND).unwrap().seen_source.port()).collect();
    again.sort_unstable();
    assert_eq!(again, seen);
    // A later command keeps the range; without the key it is the default.
    lab.netfast_ok(&["endpoint", "add", "third"]).unwrap();
    let port = ask(&connect(), SECOND).unwrap().seen_source.port();
    assert!((20004..=20010).contains(&port), "{port}");
    lab.up(MANIFEST).unwrap();
    let ports: Vec<_> = (0..8).map(|_| ask(&connect(), SECOND).unwrap().seen_source.port()).collect();
    assert!(ports.iter().any(|port| *port > 20010 || *port < 20000), "{ports:?}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    require_root!();
    let lab = Lab::new().unwrap();
    let told = refused(
        &lab,
        &format!("{MANIFEST}limits:\n  flows: 12\n  endpoint: 5\nmasquerade: {{ports: 30000-20000}}\n"),
    );
    for part in [
        "refused.yaml:5:10: limits.flows: 12 is not between 128 and 16777216",
        "refused.yaml:6:3: limits.endpoint: unknown field (did you mean endpoints?)",
        "refused.yaml:7:21: masquerade.ports: the range 30000-20000 ends before it begins (write 20000-30000)",
    ] {
        assert!(told.contains(part), "{told}");
    }
}
