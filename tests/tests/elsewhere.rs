//! An instance belongs to the network namespace it was set up in. From another one it is left alone while that lives,
//! and cleared away when that is gone.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{Lab, Running, require_root};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {publish: ["8080:80"], command: [sleep, "1000"]}, client: {}}
"#;

/// Runs `netfast up` in a network namespace that lives as long as what is returned. Other mounts than the host's it
/// has none.
fn up_in_another(lab: &Lab, file: &str) -> Running {
    // Sees to it that the lab takes it down.
    lab.netfast_ok(&["status"]).unwrap();
    let mut command = lab.host.command("unshare");
    command.args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up && \"$0\" up -d -f \"$1\" && echo ready && read line",
    ]);
    command.arg(lab.binary()).arg(file).envs(lab.environment());
    let mut running = Running::start(&mut command).unwrap();
    running.wait_for("ready", 10 * SECOND).unwrap();
    running
}

#[test]
fn what_belongs_to_a_living_namespace_is_refused() {
    require_root!();
    let lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    let running = up_in_another(&lab, &file);
    let left = lab.leftovers().unwrap();
    for args in
        [&["up", "-d", "-f", &file][..], &["down"], &["endpoint", "add", "x"], &["deny", "add", "10.0.0.1"]]
    {
        let done = lab.netfast(args).unwrap();
        assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
        assert!(done.stderr.contains("belongs to another network namespace, net:["), "{args:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    assert_eq!(lab.leftovers().unwrap(), left);
    running.finish(SECOND).unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

#[test]
fn what_belonged_to_a_dead_namespace_is_cleared_away() {
    require_root!();
    for then in ["down", "up"] {
        let lab = Lab::new().unwrap();
        let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
        up_in_another(&lab, &file).finish(SECOND).unwrap();
        if then == "up" {
            lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
            let status = lab.netfast_json(&["status"]).unwrap();
            assert!(status["endpoints"].as_array().unwrap().iter().all(|e| e["ready"] == true), "{status:#}");
            let web = lab.endpoint_ns("web").unwrap();
            let _server = web.tcp_serve("0.0.0.0:80").unwrap();
            lab.outside.tcp_ask("192.0.2.1:8080", SECOND).unwrap();
            lab.host.tcp_ask("127.0.0.1:8080", SECOND).unwrap();
        }
        lab.netfast_ok(&["down"]).unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{then}");
    }
}
