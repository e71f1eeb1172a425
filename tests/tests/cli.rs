//! What the commands do and print.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::{Duration, Instant};

use netfast_tests::{Lab, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
const NONE: [String; 0] = [];

const TOPOLOGY: &str = r#"
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: "fd77::/64"}
endpoints:
  web: {labels: {app: web}, ip: 10.77.0.2, ports: ["http=80/tcp", "53/udp"], publish: ["8080:80", "127.0.0.1:5353:53/udp"]}
  client: {}
policies: [policy.yaml]
"#;

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], ports: [{port: http}]}]
";

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    let file = lab.file("netfast.yaml", TOPOLOGY).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    lab
}

fn down(lab: &Lab) {
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < 5 * SECOND, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn exec_runs_the_command_itself_inside() {
    require_root!();
    let lab = lab();
    let ns =
        lab.netfast_json(&["endpoint", "inspect", "client"]).unwrap()["netns"].as_str().unwrap().to_owned();
    let wanted = lab.netfast_ok(&["exec", "client", "--", "stat", "-Lc", "%i", &ns]).unwrap();
    let mut shell = lab
        .start(&["exec", "client", "--", "sh", "-c", "echo $$ $(stat -Lc %i /proc/self/ns/net); read line"])
        .unwrap();
    shell.wait_for("\n", 5 * SECOND).unwrap();
    assert_eq!(shell.stdout(), format!("{} {wanted}", shell.pid()));
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", shell.pid())).unwrap(), "sh\n");
    shell.write("go on\n").unwrap();
    assert!(shell.finish(5 * SECOND).unwrap().success());

    // Signals and exit codes are the command's own.
    for (args, code) in [
        (&["sh", "-c", "exit 42"][..], 42),
        (&["/no/such/program"], 127),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
        (&["/"], 126),
    ] {
        let done = lab.netfast(&[&["exec", "client", "--"], args].concat()).unwrap();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), usize::from(code > 100), "{done:?}");
    }
    let devices = lab.netfast_ok(&["exec", "client", "cat", "/proc/net/dev"]).unwrap();
    let mut names: Vec<_> = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    names.sort_unstable();
    assert_eq!(names, ["eth0", "lo"]);
    down(&lab);
}

#[test]
fn exec_knows_endpoints_by_name() {
    require_root!();
    let lab = lab();
    let run = |args: &[&str]| lab.netfast_ok(&[&["exec", "client", "--"], args].concat()).unwrap();
    assert!(run(&["getent", "ahostsv4", "web"]).starts_with("10.77.0.2 "));
    assert!(run(&["getent", "ahostsv4", "web.default"]).starts_with("10.77.0.2 "));
    assert!(run(&["getent", "ahostsv6", "web"]).starts_with("fd77::"));
    assert!(run(&["getent", "hosts", "localhost"]).contains("localhost"));
    // The files of the host stay as they are.
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("10.77.0.2"));
    let resolv = fs::read_to_string(lab.dir().join("run/resolv.conf")).unwrap();
    assert_eq!(run(&["cat", "/etc/resolv.conf"]), resolv);
    assert!(resolv.lines().all(|line| !line.starts_with("nameserver 127.")), "{resolv}");

    // A process that runs already learns (asked without DNS, which takes seconds to say no) of those that come, and forgets those that go.
    let script =
        "while read name; do grep -qw $name /etc/hosts && echo $name is known || echo $name is not; done";
    let mut shell = lab.start(&["exec", "client", "--", "sh", "-c", script]).unwrap();
    shell.write("late\n").unwrap();
    shell.wait_for("late is not", 5 * SECOND).unwrap();
    lab.netfast_ok(&["endpoint", "add", "late"]).unwrap();
    shell.write("late\nweb\n").unwrap();
    shell.wait_for("late is known", 5 * SECOND).unwrap();
    shell.wait_for("web is known", 5 * SECOND).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "late"]).unwrap();
    let heard = shell.stdout().len();
    shell.write("late\n").unwrap();
    wait_until("it has answered", || shell.stdout().len() > heard);
    assert!(shell.stdout().ends_with("late is not\n"), "{}", shell.stdout());
    drop(shell);
    down(&lab);
}

#[test]
fn endpoints_are_added_and_removed() {
    require_root!();
    let lab = lab();
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.tcp_serve("[::]:80").unwrap();
    lab.endpoint_ns("client").unwrap().tcp_ask("10.77.0.2:80", SHORT).unwrap_err();

    // A label lets it in.
    let told =
        lab.netfast_ok(&["endpoint", "add", "friend", "-l", "role=client", "--ip", "10.77.0.50"]).unwrap();
    assert!(told.starts_with("endpoint friend: 10.77.0.50, fd77::"), "{told}");
    lab.endpoint_ns("friend").unwrap().tcp_ask("10.77.0.2:80", SECOND).unwrap();

    // A published port, with a number chosen by netfast or by the user.
    lab.netfast_ok(&["endpoint", "add", "api", "--namespace", "shop", "-p", "80", "-p", "9000:80"]).unwrap();
    let api = lab.endpoint_ns("shop/api").unwrap();
    let _api_server = api.tcp_serve("[::]:80").unwrap();
    let ports = lab.netfast_json(&["port", "ls"]).unwrap();
    let of_api: Vec<_> = ports.as_array().unwrap().iter().filter(|p| p["endpoint"] == "shop/api").collect();
    assert_eq!(of_api.len(), 2, "{ports:#}");
    for port in of_api {
        assert_eq!((&port["container"], &port["protocol"]), (&json!("80"), &json!("tcp")));
        let address = format!("192.0.2.1:{}", port["host"].as_str().unwrap());
        assert_eq!(lab.outside.tcp_ask(&address, SECOND).unwrap().by, "api");
    }
    let table = lab.netfast_ok(&["port", "ls"]).unwrap();
    assert!(table.starts_with("HOST ") && table.contains("9000/tcp"), "{table}");
    assert_eq!(table.lines().count(), 5, "{table}");

    let list = lab.netfast_ok(&["endpoint", "ls"]).unwrap();
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(
        list.contains("shop/api") && list.contains("role=client") && list.contains("default/web"),
        "{list}"
    );
    // The file does not know of them, and leaves them alone.
    let file = lab.dir().join("netfast.yaml").display().to_string();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 4);
    assert_eq!(lab.outside.tcp_ask("192.0.2.1:9000", SECOND).unwrap().by, "api");

    lab.netfast_ok(&["endpoint", "rm", "friend", "shop/api"]).unwrap();
    lab.outside.tcp_ask("192.0.2.1:9000", SHORT).unwrap_err();
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 2);
    // The namespaces are gone with them; the server's sockets keep theirs, without a device.
    assert_eq!(api.links().unwrap(), ["lo"]);
    down(&lab);
}

#[test]
fn an_address_that_somebody_has_is_not_given_again() {
    require_root!();
    let lab = lab();
    // It has not asked for them.
    let client = lab.netfast_json(&["endpoint", "inspect", "client"]).unwrap();
    for field in ["ip", "ip6", "mac"] {
        let address = client[field].as_str().unwrap();
        let told = lab.netfast(&["endpoint", "add", "rival", &format!("--{field}"), address]).unwrap();
        let wanted = format!(
            "endpoint rival: endpoint client has {address} (ask for another, or remove that one first)"
        );
        assert!(!told.success() && told.stderr.contains(&wanted), "{told:?}");
    }
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap().as_array().unwrap().len(), 2);
    let _server = lab.endpoint_ns("client").unwrap().tcp_serve("[::]:80").unwrap();
    let address = format!("{}:80", client["ip"].as_str().unwrap());
    assert_eq!(lab.endpoint_ns("web").unwrap().tcp_ask(&address, SECOND).unwrap().by, "client");
    // What nobody has any more can be asked for.
    lab.netfast_ok(&["endpoint", "add", "first"]).unwrap();
    let inspected = lab.netfast_json(&["endpoint", "inspect", "first"]).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "first"]).unwrap();
    let address = inspected["ip"].as_str().unwrap();
    let told = lab.netfast_ok(&["endpoint", "add", "second", "--ip", address]).unwrap();
    assert!(told.contains(address), "{told}");
    down(&lab);
}

#[test]
fn inspect_tells_all() {
    require_root!();
    let lab = lab();
    let web = lab.netfast_json(&["endpoint", "inspect", "web"]).unwrap();
    let of = |key: &str| web[key].clone();
    assert_eq!(of("name"), "web");
    assert_eq!(of("namespace"), "default");
    assert_eq!(of("labels"), json!({"app": "web"}));
    assert_eq!(of("network"), "lab");
    assert_eq!(of("ip"), "10.77.0.2");
    assert!(of("ip6").as_str().unwrap().starts_with("fd77::"));
    assert!(lab.host.links().unwrap().contains(&of("host_ifname").as_str().unwrap().to_owned()));
    assert_eq!(
        of("ports"),
        json!([{"name": "http", "port": 80, "protocol": "tcp"}, {"name": null, "port": 53, "protocol": "udp"}])
    );
    assert_eq!(of("publish"), json!(["8080:80/tcp", "127.0.0.1:5353:53/udp"]));
    let policy = lab.dir().join("policy.yaml").display().to_string();
    assert_eq!(
        of("isolation"),
        json!({
            "ingress": {"isolated": true, "policies": ["default/web"], "sources": [format!("{policy}:1")]},
            "egress": {"isolated": false, "policies": [], "sources": []},
        })
    );
    assert_eq!(of("ready"), true);
    assert_eq!(of("pid"), Value::Null);
    // What it tells is what the namespace has.
    let eth0 = lab.endpoint_ns("web").unwrap().ip("address show dev eth0").unwrap();
    for key in ["ip", "ip6", "mac"] {
        assert!(eth0.contains(of(key).as_str().unwrap()), "{key} is not in {eth0}");
    }
    assert!(eth0.contains(&format!("mtu {}", of("mtu"))), "{eth0}");
    let client = lab.netfast_json(&["endpoint", "inspect", "default/client"]).unwrap();
    assert_eq!(client["isolation"]["ingress"], json!({"isolated": false, "policies": [], "sources": []}));
    let text = lab.netfast_ok(&["endpoint", "inspect", "web"]).unwrap();
    assert!(text.contains("labels") && text.contains("app=web") && text.contains("8080:80/tcp"), "{text}");
    down(&lab);
}

#[test]
fn commands_run_inside_and_end_with_their_endpoint() {
    require_root!();
    let lab = Lab::new().unwrap();
    // One that does not listen to SIGTERM's default, has a child, and prints.
    let script = "echo started; getent ahostsv4 other; cat /proc/net/dev; sleep 1000 & wait";
    let text = format!(
        "networks: {{lab: {{subnet: 10.77.0.0/24}}}}\nendpoints:\n  job: {{command: [sh, -c, \"{script}\"]}}\n  other: {{}}\n"
    );
    let file = lab.file("netfast.yaml", &text).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let pid = |name: &str| lab.netfast_json(&["endpoint", "inspect", name]).unwrap()["pid"].as_u64();
    let job = pid("job").unwrap();
    let log = lab.dir().join("run/log/default+job");
    wait_until("it has printed", || fs::read_to_string(&log).unwrap().contains("eth0"));
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.starts_with("started\n10.77.0."), "{log}");

    // One added by command; what ends by itself stays ended.
    lab.netfast_ok(&["endpoint", "add", "short", "--", "true"]).unwrap();
    wait_until("it has ended", || pid("short").is_none());
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert_eq!((pid("short"), pid("job")), (None, Some(job)));

    // Another command in the file takes the place of the first.
    let file = lab.file("netfast.yaml", &text.replace("echo started", "echo again")).unwrap();
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    let second = pid("job").unwrap();
    assert_ne!(second, job);
    assert!(!fs::exists(format!("/proc/{job}")).unwrap() || is_zombie(job));
    lab.netfast_ok(&["endpoint", "rm", "job"]).unwrap();
    assert!(!fs::exists(format!("/proc/{second}")).unwrap() || is_zombie(second));
    // The file's endpoint comes back with the file.
    lab.netfast_ok(&["up", "-d", "-f", &file]).unwrap();
    assert!(pid("job").is_some());
    down(&lab);
}

/// Nobody may be there who reaps orphans.
fn is_zombie(pid: u64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn policies_are_checked_without_an_instance() {
    require_root!();
    let lab = Lab::new().unwrap();
    let good = lab.file("good.yaml", POLICY).unwrap();
    let bad = lab
        .file(
            "bad.yaml",
            &POLICY.replace("podSelector: {matchLabels: {app", "podSelecter: {matchLabels: {app"),
        )
        .unwrap();
    let check = |files: &[&str]| lab.netfast(&[&["policy", "check"], files].concat()).unwrap();
    let done = check(&[&good]);
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(0), "1 policy, no errors\n"), "{done:?}");
    let done = check(&[&good, &bad]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stdout.contains("bad.yaml:5:3: ") && done.stdout.contains("did you mean podSelector"),
        "{done:?}"
    );
    let done = check(&[&good, "/nowhere.yaml"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let done = check(&[&bad, "-o", "json"]);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!((&found[0]["line"], &found[0]["severity"]), (&json!(5), &json!("error")), "{found:#}");
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
