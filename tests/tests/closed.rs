//! A new endpoint under a policy that denies everything: no packet gets in or out, however early it is sent.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{Lab, Ns, require_root};
use socket2::{Domain, Type};

const SECOND: Duration = Duration::from_secs(1);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {ip: 10.77.0.10, ip6: 'fd77::10'}
policies: [policy.yaml]
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec:
  podSelector: {matchLabels: {app: late}}
  policyTypes: [Ingress, Egress]
";

/// Why the packets are dropped that come to the endpoint, and those that it sends.
const STOPPED: [&str; 2] = ["policy_ingress", "policy_egress"];

/// A socket for datagrams that come to any address of a namespace.
fn listen(ns: &Ns) -> UdpSocket {
    let socket = ns.socket(Domain::IPV6, Type::DGRAM, None).unwrap();
    let any: std::net::SocketAddr = "[::]:53".parse().unwrap();
    netfast_tests::bind_when_free(&socket, any).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Sends datagrams there, over and over, whether it can be reached yet or not.
fn probe(ns: &Ns, to: [&str; 2], is_over: &AtomicBool, sent: &AtomicU64) {
    let sockets = to.map(|to| {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let socket: UdpSocket = ns.socket(Domain::for_address(to), Type::DGRAM, None).unwrap().into();
        (socket, to)
    });
    while !is_over.load(Ordering::Relaxed) {
        for (socket, to) in &sockets {
            if socket.send_to(b"probe", to).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn nothing_passes_before_the_policy_is_in_force() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.file("policy.yaml", POLICY).unwrap();
    lab.up(MANIFEST).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let at_web = listen(&web);
    // Else its kernel waits for a neighbour, while there is none.
    for address in ["10.77.0.99", "fd77::99"] {
        web.ip(&format!("neigh add {address} lladdr 02:00:00:00:00:99 dev eth0 nud permanent")).unwrap();
    }
    let rounds = if std::env::var_os("NETFAST_TEST_ALL").is_some() { 100 } else { 10 };
    for round in 0..rounds {
        let late = Ns::new("late").unwrap();
        let at_late = listen(&late);
        let (is_over, into, out) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| probe(&web, ["10.77.0.99:53", "[fd77::99]:53"], &is_over, &into));
            scope.spawn(|| probe(&late, ["10.77.0.10:53", "[fd77::10]:53"], &is_over, &out));
            let netns = late.path().display().to_string();
            let address = ["--ip", "10.77.0.99", "--ip6", "fd77::99", "--label", "app=late"];
            let add = [&["endpoint", "add", "late", "--network", "lab", "--netns", &netns], &address[..]];
            let added = lab.netfast_ok(&add.concat());
            // Both try until netfast has stopped both; on a busy machine one of them may come late.
            let start = Instant::now();
            let mut drops = lab.drops("late");
            while drops.as_ref().is_ok_and(|drops| !STOPPED.iter().all(|reason| drops.contains_key(*reason)))
                && start.elapsed() < 5 * SECOND
            {
                thread::sleep(Duration::from_millis(20));
                drops = lab.drops("late");
            }
            is_over.store(true, Ordering::Relaxed);
            added.unwrap();
            let drops = drops.unwrap();
            assert!(STOPPED.iter().all(|reason| drops.contains_key(*reason)), "round {round}: {drops:?}");
        });
        assert!(into.into_inner() > 0 && out.into_inner() > 0, "round {round}");
        for (socket, what) in [(&at_web, "out of"), (&at_late, "into")] {
            assert!(socket.recv(&mut [0; 8]).is_err(), "round {round}: a packet got {what} it");
        }
        web.ping("10.77.0.1", SECOND).unwrap();
        lab.netfast_ok(&["endpoint", "rm", "late"]).unwrap();
    }
}
