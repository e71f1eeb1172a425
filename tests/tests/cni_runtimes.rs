//! What runtimes that are not to be had here send, replayed from what they were seen or are known to do.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::fs;
use std::time::Duration;

use netfast_tests::{
    HOST_V4, Lab, Libcni, Ns, OUTSIDE_V4, PluginError, Sandbox, place_program, require_root,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(10);
const NONE: [String; 0] = [];

const SANDBOX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=0123456789abcdef;K8S_POD_NAMESPACE=shop;\
                   K8S_POD_UID=9f1c;K8S_POD_NAME=web-0";

fn list(lab: &Lab, version: &str) -> Value {
    let mut list = lab.cni_list("pods", &["10.86.0.0/24", "fd86::/64"]).unwrap();
    list["cniVersion"] = version.into();
    list
}

fn plugins(lab: &Lab) -> Libcni<'_> {
    Libcni::new(lab, &[lab.binary().parent().unwrap()])
}

/// The IPv4 address of a result.
fn address(result: &Value) -> String {
    let address = result["ips"][0]["address"].as_str().unwrap();
    address.split_once('/').unwrap().0.to_owned()
}

fn nothing_is_left(lab: &Lab) {
    assert_eq!(lab.netfast_json(&["endpoint", "ls"]).unwrap(), json!([]));
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// CRI-O asks for versions when it reads the configuration, for STATUS before each sandbox, and CHECKs whenever it is asked
/// how a sandbox does. It DELs once, with the result it has kept.
#[test]
fn crio() {
    require_root!();
    let lab = Lab::new().unwrap();
    let crio = plugins(&lab);
    let list = list(&lab, "1.1.0");
    crio.validate(&list).unwrap();
    crio.status(&list).unwrap();
    crio.gc(&list, &[]).unwrap();
    let ns = Ns::new("web-0").unwrap();
    let sandbox = Sandbox::new(SANDBOX, &ns)
        .args(POD)
        .ports(&[(8080, 80, "tcp")])
        .capability("aliases", json!({"pods": ["web"]}))
        .capability("bandwidth", json!({}))
        .capability("cgroupPath", json!("/kubepods.slice"));
    let result = crio.add(&list, &sandbox).unwrap();
    let _server = ns.tcp_serve("0.0.0.0:80").unwrap();
    assert_eq!(lab.host.tcp_ask(&format!("{}:80", address(&result)), LONG).unwrap().by, "web-0");
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), LONG).unwrap().by, "web-0");
    assert_eq!(lab.inspect("shop/web-0").unwrap()["namespace"], "shop");
    for _ in 0..3 {
        crio.status(&list).unwrap();
        crio.check(&list, &sandbox).unwrap();
    }
    crio.gc(&list, &[(SANDBOX, "eth0")]).unwrap();
    crio.check(&list, &sandbox).unwrap();
    crio.del(&list, &sandbox).unwrap();
    crio.gc(&list, &[]).unwrap();
    assert_eq!(ns.links().unwrap(), ["lo"]);
    nothing_is_left(&lab);
}

/// containerd's CRI writes keys of capabilities with capitals, removes a sandbox twice, and knows neither namespace nor
/// result the second time.
#[test]
fn containerd_for_kubernetes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let containerd = plugins(&lab);
    let list = list(&lab, "1.0.0");
    let ns = Ns::new("web-0").unwrap();
    let sandbox = Sandbox::new(SANDBOX, &ns)
        .args(POD)
        .capability(
            "portMappings",
            json!([{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]),
        )
        .capability("dns", json!({"Servers": ["192.0.2.53"], "Searches": ["shop"], "Options": null}));
    let result = containerd.add(&list, &sandbox).unwrap();
    assert_eq!(result["dns"]["nameservers"], json!(["192.0.2.53"]));
    let _server = ns.tcp_serve("0.0.0.0:80").unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), LONG).unwrap().by, "web-0");
    containerd.del(&list, &sandbox).unwrap();
    let gone = sandbox.gone();
    containerd.del(&list, &gone).unwrap();
    nothing_is_left(&lab);
}

/// nerdctl removes what may be left of a container of that name before it adds, and its containers restart in another
/// namespace.
#[test]
fn nerdctl() {
    require_root!();
    let lab = Lab::new().unwrap();
    let nerdctl = plugins(&lab);
    let list = list(&lab, "1.0.0");
    let port = json!([{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "0.0.0.0"}]);
    for _ in 0..2 {
        let ns = Ns::new("box").unwrap();
        let sandbox = Sandbox::new("default-box", &ns)
            .args("IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=box")
            .capability("portMappings", port.clone());
        nerdctl.del(&list, &sandbox.clone().gone()).unwrap();
        nerdctl.forget(&list, &sandbox).unwrap();
        nerdctl.add(&list, &sandbox).unwrap();
        let _server = ns.tcp_serve("0.0.0.0:80").unwrap();
        assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), LONG).unwrap().by, "box");
    }
    nerdctl.del(&list, &Sandbox::new("default-box", &lab.outside).gone()).unwrap();
    nothing_is_left(&lab);
}

/// A runtime calls in parallel, never two at a time for one container.
#[test]
fn many_at_a_time() {
    require_root!();
    let lab = Lab::new().unwrap();
    let runtime = plugins(&lab);
    let list = list(&lab, "1.1.0");
    let containers: Vec<_> = (0..12).map(|number| (number, Ns::new("many").unwrap())).collect();
    let each = |work: &(dyn Fn(&Sandbox) + Sync)| {
        std::thread::scope(|scope| {
            for (number, ns) in &containers {
                scope.spawn(move || {
                    work(&Sandbox::new(&format!("many{number}"), ns).ports(&[(9000 + number, 80, "tcp")]));
                });
            }
        });
    };
    each(&|sandbox| drop(runtime.add(&list, sandbox).unwrap()));
    let (number, ns) = &containers[7];
    let _server = ns.tcp_serve("0.0.0.0:80").unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:{}", 9000 + number), LONG).unwrap().by, "many");
    each(&|sandbox| runtime.check(&list, sandbox).unwrap());
    each(&|sandbox| runtime.del(&list, sandbox).unwrap());
    nothing_is_left(&lab);
}

/// podman binds the ports that it publishes once the interface is there, nerdctl before that: so that nobody else has them.
#[test]
fn a_runtime_may_hold_the_ports_it_publishes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let runtime = plugins(&lab);
    let list = list(&lab, "1.0.0");
    let ns = Ns::new("web").unwrap();
    let one = json!({"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": HOST_V4});
    let sandbox = Sandbox::new("web", &ns).ports(&[(8080, 80, "tcp"), (5353, 53, "udp")]);
    let mut sandbox = sandbox.ifname("eth1");
    sandbox.capabilities["portMappings"].as_array_mut().unwrap().push(one);
    let hold = || {
        let (one, all) = (format!("{HOST_V4}:8081"), "0.0.0.0:8080");
        (
            lab.host.tcp_serve(all).unwrap(),
            lab.host.tcp_serve(&one).unwrap(),
            lab.host.udp_serve("0.0.0.0:5353").unwrap(),
        )
    };
    let before = hold();
    let result = runtime.add(&list, &sandbox).unwrap();
    let _servers =
        (ns.tcp_serve("0.0.0.0:80").unwrap(), ns.udp_serve(&format!("{}:53", address(&result))).unwrap());
    let is_reached = || {
        for who in [&lab.outside, &lab.host] {
            for port in [8080, 8081] {
                assert_eq!(
                    who.tcp_ask(&format!("{HOST_V4}:{port}"), LONG).unwrap().by,
                    "web",
                    "{}",
                    who.name()
                );
            }
            assert_eq!(who.udp_ask(&format!("{HOST_V4}:5353"), LONG).unwrap().by, "web", "{}", who.name());
        }
    };
    is_reached();
    drop(before);
    let after = hold();
    is_reached();
    // What a file or a command publishes is kept from others as ever, also beside one that may be bound.
    lab.netfast_ok(&["endpoint", "add", "filed", "--network", "pods", "-p", "192.0.2.1:9090:80"]).unwrap();
    assert!(lab.host.tcp_serve("192.0.2.1:9090").is_err());
    drop(after);
    runtime.del(&list, &sandbox).unwrap();
    lab.netfast_ok(&["endpoint", "rm", "filed"]).unwrap();
    nothing_is_left(&lab);
}

/// What is asked for again is told, and does no harm to what is there.
#[test]
fn an_interface_that_is_there_already() {
    require_root!();
    let lab = Lab::new().unwrap();
    let runtime = plugins(&lab);
    let list = list(&lab, "1.0.0");
    let ns = Ns::new("web").unwrap();
    let sandbox = Sandbox::new("web", &ns);
    runtime.add(&list, &sandbox).unwrap();
    let again = runtime.add(&list, &sandbox).unwrap_err();
    assert!(again.downcast_ref::<PluginError>().unwrap().code().is_some(), "{again:#}");
    runtime.check(&list, &sandbox).unwrap();
    runtime.del(&list, &sandbox).unwrap();
    nothing_is_left(&lab);
}

/// podman lets its caller's files leak into the plugins; what those call must not get them.
#[test]
fn files_of_the_caller_go_no_further() {
    require_root!();
    let lab = Lab::new().unwrap();
    let directory = lab.dir().join("plugins");
    fs::create_dir(&directory).unwrap();
    let plugin = |name: &str, script: String| {
        place_program(&directory.join(name), format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    };
    let told = lab.dir().join("told");
    plugin("netfast", format!("exec 7</dev/null 9</dev/zero; exec {}", lab.binary().display()));
    let answer = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.86.0.5/24", "gateway": "10.86.0.1"}]});
    plugin(
        "spy",
        format!(
            "for fd in 3 4 5 6 7 8 9; do test ! -e /proc/$$/fd/$fd || readlink /proc/$$/fd/$fd >> {0}; done\n\
             echo $CNI_COMMAND >> {0}; cat > {0}.input; test $CNI_COMMAND = DEL || echo '{answer}'",
            told.display()
        ),
    );
    let runtime = Libcni::new(&lab, &[&directory]);
    let mut list = list(&lab, "1.0.0");
    list["plugins"][0]["ipam"] = json!({"type": "spy"});
    let ns = Ns::new("web").unwrap();
    let sandbox = Sandbox::new("web", &ns);
    let result = runtime.add(&list, &sandbox).unwrap();
    assert_eq!(address(&result), "10.86.0.5");
    runtime.del(&list, &sandbox).unwrap();
    let told = fs::read_to_string(told).unwrap();
    // The shell keeps its script open, as 10 or higher.
    assert_eq!(told, "ADD\nDEL\n");
    nothing_is_left(&lab);
}

/// Docker sets the policy of forwarded packets to drop, and has bridged ones looked at like those.
#[test]
fn beside_dockers_firewall() {
    require_root!();
    let lab = Lab::new().unwrap();
    let nft = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
    assert!(lab.host.finish("nft", &[nft], LONG).unwrap().success());
    let runtime = plugins(&lab);
    let list = list(&lab, "1.0.0");
    let [web, client] = ["web", "client"].map(|name| Ns::new(name).unwrap());
    let (published, other) =
        (Sandbox::new("web", &web).ports(&[(8080, 80, "tcp")]), Sandbox::new("client", &client));
    let result = runtime.add(&list, &published).unwrap();
    runtime.add(&list, &other).unwrap();
    let _servers = [web.tcp_serve("0.0.0.0:80").unwrap(), lab.outside.tcp_serve("0.0.0.0:80").unwrap()];
    assert_eq!(client.tcp_ask(&format!("{}:80", address(&result)), LONG).unwrap().by, "web");
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), LONG).unwrap().by, "web");
    assert_eq!(client.tcp_ask(&format!("{OUTSIDE_V4}:80"), LONG).unwrap().by, "outside");
    for sandbox in [published, other] {
        runtime.del(&list, &sandbox).unwrap();
    }
    nothing_is_left(&lab);
}
