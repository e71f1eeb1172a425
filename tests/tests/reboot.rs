//! After a reboot the definitions are there, and nothing of what was made of them.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::Duration;

use netfast_tests::{Lab, require_root};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks: {lab: {subnet: 10.77.0.0/24}}
endpoints: {web: {publish: ["8080:80"], command: [sleep, "1000"]}, client: {}}
"#;

/// A lab that was set up, with an endpoint added by command, and booted anew.
fn rebooted(is_run_dir_kept: bool) -> (Lab, String) {
    let mut lab = Lab::new().unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    lab.netfast_ok(&["endpoint", "add", "added"]).unwrap();
    lab.reboot().unwrap();
    if !is_run_dir_kept {
        fs::remove_dir_all(lab.dir().join("run")).unwrap();
    }
    (lab, file)
}

#[test]
fn nothing_is_up_and_down_leaves_nothing() {
    require_root!();
    for is_run_dir_kept in [false, true] {
        let (lab, _) = rebooted(is_run_dir_kept);
        let status = lab.netfast_json(&["status"]).unwrap();
        assert_eq!(status["up"], false, "{is_run_dir_kept}: {status:#}");
        lab.netfast_ok(&["down"]).unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE, "{is_run_dir_kept}");
    }
}

#[test]
fn up_brings_everything_back() {
    require_root!();
    for is_run_dir_kept in [false, true] {
        let (lab, file) = rebooted(is_run_dir_kept);
        lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
        let status = lab.netfast_json(&["status"]).unwrap();
        let endpoints = status["endpoints"].as_array().unwrap();
        assert_eq!(endpoints.len(), 3, "{status:#}");
        assert!(endpoints.iter().all(|e| e["ready"] == true), "{status:#}");
        assert!(lab.netfast_json(&["endpoint", "inspect", "web"]).unwrap()["pid"].is_u64());
        let web = lab.endpoint_ns("web").unwrap();
        let _server = web.tcp_serve("0.0.0.0:80").unwrap();
        lab.outside.tcp_ask("192.0.2.1:8080", SECOND).unwrap();
        lab.endpoint_ns("added").unwrap().ping("10.77.0.1", SECOND).unwrap();
        lab.down().unwrap();
        assert_eq!(lab.leftovers().unwrap(), NONE);
    }
}

/// A failed change right after the boot goes back to what the definitions say, which brings that up.
#[test]
fn a_failed_change_keeps_the_definitions() {
    require_root!();
    let (lab, file) = rebooted(false);
    let done = lab.netfast(&["endpoint", "add", "bad", "--netns", "/nowhere"]).unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 3);
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
