//! `netfast bench`: it measures, tells what it measured, and leaves nothing.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::Duration;

use netfast_tests::{Lab, require_root};
use nix::sys::signal::Signal;
use serde_json::Value;

const NONE: [String; 0] = [];
const PATIENCE: Duration = Duration::from_mins(1);

/// One test on two peers.
const TINY: [&str; 8] =
    ["bench", "--only", "between/tcp-rr", "--peer", "bridge", "--peer", "netfast", "--slice"];

/// Cgroups that were made below the lab's.
fn cgroups(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.cgroup()).unwrap().map(Result::unwrap);
    entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect()
}

fn assert_nothing_is_left(lab: &Lab) {
    assert_eq!(lab.leftovers().unwrap(), NONE);
    assert_eq!(cgroups(lab), NONE);
}

fn figure<'v>(variant: &'v Value, metric: &str) -> &'v Value {
    let figures = variant["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["metric"] == metric).unwrap()
}

#[test]
fn a_short_run_compares_two_and_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    let page = lab.dir().join("report.html").display().to_string();
    let args = [&TINY[..], &["10", "--rounds", "2", "--html", &page]].concat();
    let report = lab.netfast_json(&args).unwrap();
    assert_nothing_is_left(&lab);

    assert_eq!((&report["schema"], &report["is_complete"]), (&1.into(), &true.into()));
    assert_eq!(report["machine"]["kernel"], nix::sys::utsname::uname().unwrap().release().to_str().unwrap());
    let peers: Vec<_> = report["peers"].as_array().unwrap().iter().map(|peer| &peer["peer"]).collect();
    assert_eq!(peers, ["bridge", "netfast"]);
    let test = &report["tests"][0];
    assert_eq!((&test["id"], &test["left_out"]), (&"between/tcp-rr".into(), &serde_json::json!([])));
    let variants = test["variants"].as_array().unwrap();
    assert_eq!(variants.iter().map(|variant| &variant["name"]).collect::<Vec<_>>(), ["bridge", "netfast"]);
    for variant in variants {
        for metric in ["p50_us", "p99_us", "per_second"] {
            let figure = figure(variant, metric);
            assert!(figure["value"]["median"].as_f64().unwrap() > 0.0, "{figure}");
            assert_eq!(figure["rounds"].as_object().unwrap().len(), 2);
        }
    }
    let [bridge, netfast] = [0, 1].map(|at| figure(&variants[at], "p50_us"));
    let ratio = |figure: &Value, round: &str| figure["rounds"][round].as_f64().unwrap();
    let of_rounds = ["0", "1"].map(|round| ratio(bridge, round) / ratio(netfast, round));
    let told = netfast["against_first"]["median"].as_f64().unwrap();
    assert!((told - f64::midpoint(of_rounds[0], of_rounds[1])).abs() < 1e-9, "{told} {of_rounds:?}");

    let programs: Vec<_> = report["programs"].as_array().unwrap().iter().map(|p| &p["program"]).collect();
    assert!(
        programs.contains(&&"from_endpoint".into()) && programs.contains(&&"deny_xdp".into()),
        "{programs:?}"
    );
    assert!(report["memory"]["maps"].as_u64().unwrap() > 1 << 20);
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
}

#[test]
fn an_interrupted_run_reports_what_it_has_and_leaves_nothing() {
    require_root!();
    let lab = Lab::new().unwrap();
    // Five tests. When the second begins, the first has been measured, and the others take seconds.
    let args = [
        "bench", "--only", "between/", "--peer", "bridge", "--peer", "netfast", "--slice", "10", "--rounds",
        "100",
    ];
    let mut run = lab.start(&args).unwrap();
    run.wait_for("container to container: TCP_CRR", PATIENCE).unwrap();
    run.signal(Signal::SIGINT).unwrap();
    let done = run.finish(PATIENCE).unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
    assert!(done.stdout.contains("it was stopped before its end"), "{}", done.stdout);
    let (_, measured) = done.stdout.split_once("container to container: TCP_RR").unwrap();
    let first: Vec<_> =
        measured.lines().skip(2).take(2).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["bridge", "netfast"], "{}", done.stdout);
    assert!(!done.stdout.contains("UDP stream"), "{}", done.stdout);
    assert_nothing_is_left(&lab);
}

#[test]
fn what_is_no_traffic_between_containers_is_measured_too() {
    require_root!();
    let lab = Lab::new().unwrap();
    let tests = ["drop", "setup/container", "setup/ports", "localhost/tcp-crr", "hairpin/tcp-rr"];
    let only = tests.iter().flat_map(|test| ["--only", test]);
    let args: Vec<_> =
        ["bench", "--peer", "netfast", "--rounds", "1", "--slice", "10"].into_iter().chain(only).collect();
    let report = lab.netfast_json(&args).unwrap();
    assert_nothing_is_left(&lab);
    let measured = report["tests"].as_array().unwrap();
    assert_eq!(measured.len(), tests.len());
    for test in measured {
        let left_out = test["left_out"].as_array().unwrap();
        // A machine that is very busy may not get round to taking frames as fast as they are made.
        if test["id"] == "drop"
            && left_out.iter().any(|left| left["why"].as_str().unwrap().contains("frames arrived"))
        {
            continue;
        }
        assert_eq!(left_out.len(), 0, "{test}");
        for variant in test["variants"].as_array().unwrap() {
            assert!(variant["figures"][0]["value"]["median"].as_f64().unwrap() > 0.0, "{test}");
        }
    }
}

#[test]
fn a_tool_that_is_missing_leaves_its_peer_out() {
    require_root!();
    let lab = Lab::new().unwrap();
    let args =
        ["bench", "--only", "between/tcp-rr", "--peer", "iptables-nft", "--peer", "direct", "--slice", "10"];
    let mut command = lab.command(&args);
    command.args(["--rounds", "1"]).env("PATH", "/nonexistent");
    let done = netfast_tests::Running::start(&mut command).unwrap().finish(PATIENCE).unwrap();
    assert!(done.success(), "{}", done.stderr);
    assert!(
        done.stdout.contains("left out: iptables-nft: iptables-nft-restore cannot be run"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.lines().any(|line| line.starts_with("  direct ")), "{}", done.stdout);
    assert_nothing_is_left(&lab);
}
