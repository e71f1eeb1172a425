//! netfast under containerd's CRI: pods, as a kubelet starts and ends them.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use netfast_tests::{Containerd, HOST_V4, Lab, Machine, Pod, require_runtimes};
use serde_json::{Value, json};

/// The machine is busy with other tests.
const LONG: Duration = Duration::from_secs(20);
const NONE: [String; 0] = [];

fn names(lab: &Lab) -> Vec<String> {
    let endpoints: Value = lab.netfast_json(&["endpoint", "ls"]).unwrap();
    let id = |e: &Value| format!("{}/{}", e["namespace"].as_str().unwrap(), e["name"].as_str().unwrap());
    endpoints.as_array().unwrap().iter().map(id).collect()
}

#[test]
fn pods() {
    require_runtimes!();
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab).unwrap();
    let list = lab.cni_list("pods", &["10.86.0.0/24", "fd86::/64"]).unwrap();
    machine.configure("10-netfast.conflist", &list).unwrap();
    let (containerd, cri) = Containerd::start_with_cri(&machine).unwrap();
    assert_eq!(cri.network().unwrap(), Ok(()));
    let cgroup = machine.cgroup();
    let web = cri.run(&Pod { name: "web", ports: &[(8080, 80)], ..Pod::default() }, &cgroup).unwrap();
    let limits = [("kubernetes.io/ingress-bandwidth", "8M"), ("kubernetes.io/egress-bandwidth", "8M")];
    let slow = cri.run(&Pod { name: "slow", annotations: &limits, ..Pod::default() }, &cgroup).unwrap();
    assert_eq!(names(&lab), ["shop/slow", "shop/web"]);
    let ns = |pod: &netfast_tests::PodSandbox, name: &str| machine.ns_of(name, pod.pid).unwrap();
    let (inside, client) = (ns(&web, "web"), ns(&slow, "slow"));
    let _servers = [inside.tcp_serve("[::]:80").unwrap(), client.tcp_serve("[::]:80").unwrap()];
    let [v4, v6] = web.addresses.as_slice() else { panic!("{web:?}") };
    for address in [format!("{v4}:80"), format!("[{v6}]:80"), format!("{HOST_V4}:8080")] {
        assert_eq!(client.tcp_ask(&address, LONG).unwrap().by, "web");
    }
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), LONG).unwrap().by, "web");
    // The burst that containerd asks for is larger than what a test could send. Each end has one for its own direction.
    let device = lab.netfast_json(&["endpoint", "inspect", "shop/slow"]).unwrap()["host_ifname"].take();
    for (end, device) in [(&lab.host, device.as_str().unwrap()), (&client, "eth0")] {
        let queues = end.finish("tc", &["qdisc", "show", "dev", device], LONG).unwrap().stdout;
        assert!(queues.contains("qdisc tbf") && queues.contains("rate 8Mbit"), "{queues}");
    }
    drop((inside, client));

    // What does not come about leaves nothing, and says why.
    let before = lab.host.ip("link").unwrap();
    let twin = Pod { name: "twin", ports: &[(8081, 80), (8080, 80)], ..Pod::default() };
    let told = cri.run(&twin, &cgroup).unwrap_err().to_string();
    assert!(told.contains("8080/tcp"), "{told}");
    assert_eq!(names(&lab), ["shop/slow", "shop/web"]);
    assert_eq!(lab.host.ip("link").unwrap(), before);

    // A kubelet asks any number of times, and containerd may have been started anew.
    cri.stop(&web.id).unwrap();
    cri.stop(&web.id).unwrap();
    assert_eq!(names(&lab), ["shop/slow"]);
    drop((containerd, cri));
    let (_containerd, cri) = Containerd::start_with_cri(&machine).unwrap();
    assert_eq!(cri.sandbox(&slow.id).unwrap().addresses, slow.addresses);
    for pod in [&slow, &web] {
        cri.stop(&pod.id).unwrap();
        cri.remove(&pod.id).unwrap();
    }
    assert_eq!(names(&lab), NONE);
    assert_eq!(lab.netfast_json(&["port", "ls"]).unwrap(), json!([]));
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
