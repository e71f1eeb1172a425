//! Another netfast that is at work for long: the plugin waits for it, and then asks to be called again later.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{Answer, Lab, require_root};
use nix::sys::signal::Signal;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
/// How long the plugin waits, as its documentation says.
const WAIT: Duration = Duration::from_secs(30);

#[test]
fn who_waits_too_long_is_to_come_back_later() {
    require_root!();
    let lab = Lab::new().unwrap();
    let plugin = lab.plugin(&json!({"cniVersion": "1.1.0", "ipam": {"subnet": "10.77.0.0/24"}}));
    let stays = plugin.container("stays").unwrap();
    let result = stays.add().unwrap();
    // A command that is stopped while it holds the lock: by what it wants to end, as soon as it is told to end.
    let lock = lab.dir().join("run/lock");
    let stops =
        format!("trap 'read pid <{}; kill -STOP $pid' TERM; while :; do sleep 1; done", lock.display());
    let manifest = json!({
        "networks": {"own": {"subnet": "10.90.0.0/24"}},
        "endpoints": {"a": {"command": ["sh", "-c", stops]}},
    });
    lab.up(&manifest.to_string()).unwrap();
    let holder = lab.start(&["endpoint", "rm", "a"]).unwrap();
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", holder.pid())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    };
    let deadline = Instant::now() + 60 * SECOND;
    while !is_stopped() {
        assert!(Instant::now() < deadline, "it is not stopped: {}{}", holder.stdout(), holder.stderr());
        thread::sleep(SECOND / 100);
    }

    let container = plugin.container("c1").unwrap();
    let start = Instant::now();
    let answers: Vec<(&str, Answer)> = thread::scope(|scope| {
        let calls = [
            scope.spawn(|| ("ADD", container.call("ADD").unwrap())),
            scope.spawn(|| ("DEL", stays.call("DEL").unwrap())),
            scope.spawn(|| ("CHECK", stays.check(&result).unwrap())),
            scope.spawn(|| ("STATUS", plugin.call("STATUS").unwrap())),
        ];
        calls.map(|call| call.join().unwrap()).into()
    });
    assert!(start.elapsed() >= WAIT, "{:?}", start.elapsed());
    for (command, answer) in answers {
        let (code, message) = answer.failure().unwrap();
        assert_eq!(code, 11, "{command}: {message}");
        let holder = format!("process {} (", holder.pid());
        assert!(message.contains(&holder) && message.contains("more than 30 s"), "{command}: {message}");
    }
    assert_eq!(container.ns.links().unwrap(), ["lo"]);
    // What waits is served as soon as there is a way.
    let served = thread::scope(|scope| {
        let waits = scope.spawn(|| container.add());
        thread::sleep(SECOND / 2);
        holder.signal(Signal::SIGCONT).unwrap();
        waits.join().unwrap()
    });
    served.unwrap();
    holder.finish(30 * SECOND).unwrap();
    container.ns.ping("10.77.0.1", 10 * SECOND).unwrap();
    assert_eq!(stays.check(&result).unwrap().ok().unwrap(), "", "it is what it was");
    stays.del().unwrap();
    container.del().unwrap();
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), [""; 0]);
}
