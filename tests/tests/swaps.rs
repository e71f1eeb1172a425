//! Policies that are swapped under traffic: no packet passes that neither policy allows, none is lost that both allow.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{Lab, require_root};
use nix::libc;
use socket2::{Domain, Type};

/// In one world the sender has one label, in the other one the other; both ends' rules change with it.
fn manifest(index: usize) -> String {
    format!(
        "
networks:
  lab: {{subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
endpoints:
  web: {{ip: 10.77.0.10, ip6: 'fd77::10', labels: {{app: web}}}}
  client: {{labels: {{world: w{index}}}}}
policies: [policy{index}.yaml]
"
    )
}

/// Port 53 is allowed in both worlds, 1000 or 1001 in one of them, 2000 in neither. 3000 is allowed by the sender's rules
/// in one world and by the receiver's in the other, so a mix of both would let it pass.
fn policy(index: usize) -> String {
    let (out, into) = if index == 0 {
        (", {protocol: UDP, port: 3000}", "")
    } else {
        ("", ", {protocol: UDP, port: 3000}")
    };
    let both = format!("{{protocol: UDP, port: 53}}, {{protocol: UDP, port: {}}}", 1000 + index);
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: in}}
spec:
  podSelector: {{matchLabels: {{app: web}}}}
  policyTypes: [Ingress]
  ingress:
  - from: [{{podSelector: {{matchLabels: {{world: w{index}}}}}}}]
    ports: [{both}{into}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: out}}
spec:
  podSelector: {{matchLabels: {{world: w{index}}}}}
  policyTypes: [Egress]
  egress:
  - to: [{{podSelector: {{matchLabels: {{app: web}}}}}}]
    ports: [{both}{out}]
"
    )
}

const PORTS: [u16; 5] = [53, 1000, 1001, 2000, 3000];

/// Leaves the processor to the commands: the traffic gets what they leave, which is enough.
fn step_back() {
    // SAFETY: a plain call; 0 is the calling thread.
    assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) }, 0);
}

#[test]
fn no_packet_sees_a_mix_of_two_worlds() {
    require_root!();
    let lab = Lab::new().unwrap();
    let files = [0, 1].map(|index| {
        lab.file(&format!("policy{index}.yaml"), &policy(index)).unwrap();
        lab.file(&format!("netfast{index}.yaml"), &manifest(index)).unwrap()
    });
    let swap = |index: usize| lab.netfast_ok(&["up", "-d", "-f", &files[index]]).unwrap();
    swap(0);
    let (web, client) = (lab.endpoint_ns("web").unwrap(), lab.endpoint_ns("client").unwrap());
    let whole = std::env::var_os("NETFAST_TEST_ALL").is_some();
    let (swaps, packets) = if whole { (10_000, 10_000_000) } else { (200, 0) };
    let time = if whole { Duration::from_hours(4) } else { Duration::from_secs(15) };

    let is_over = AtomicBool::new(false);
    let sent: [AtomicU64; 10] = Default::default();
    let got: [AtomicU64; 10] = Default::default();
    let flows = ["10.77.0.10", "fd77::10"].into_iter().flat_map(|address| PORTS.map(|port| (address, port)));
    let flows: Vec<_> =
        flows.map(|(address, port)| std::net::SocketAddr::new(address.parse().unwrap(), port)).collect();
    let mut done = 0;
    thread::scope(|scope| {
        let (is_over, got, sent) = (&is_over, &got, &sent);
        for (index, address) in flows.iter().enumerate() {
            let socket = web.socket(Domain::for_address(*address), Type::DGRAM, None).unwrap();
            socket.bind(&(*address).into()).unwrap();
            socket.set_recv_buffer_size(1 << 22).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let socket: UdpSocket = socket.into();
            scope.spawn(move || {
                step_back();
                let mut buffer = [0; 8];
                let mut next = 0;
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(_) => {
                            let number = u64::from_ne_bytes(buffer);
                            assert!(number >= next, "{number} came after {next}");
                            next = number + 1;
                            got[index].fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) if is_over.load(Ordering::Relaxed) => return,
                        Err(_) => {}
                    }
                }
            });
        }
        let sockets: Vec<_> =
            flows.iter().map(|to| client.udp_connect(None, &to.to_string()).unwrap()).collect();
        scope.spawn(move || {
            step_back();
            let mut number = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                for (index, socket) in sockets.iter().enumerate() {
                    if socket.send(&number.to_ne_bytes()).is_ok() {
                        sent[index].fetch_add(1, Ordering::Relaxed);
                    }
                }
                number += 1;
                // A receiver that is not scheduled would lose what its buffer does not hold.
                while sent[0].load(Ordering::Relaxed) > got[0].load(Ordering::Relaxed) + 1000
                    && !is_over.load(Ordering::Relaxed)
                {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        });
        let start = Instant::now();
        let total = || sent.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        while start.elapsed() < time && (done < swaps || total() < packets) {
            done += 1;
            swap(done % 2);
        }
        eprintln!("{done} swaps in {:.1} s, {} packets", start.elapsed().as_secs_f64(), total());
        is_over.store(true, Ordering::Relaxed);
    });
    let count = |counts: &[AtomicU64; 10], index: usize| counts[index].load(Ordering::Relaxed);
    for family in [0, 5] {
        let passed: Vec<_> =
            (family..family + 5).map(|index| (count(&sent, index), count(&got, index))).collect();
        assert_eq!(passed[0].0, passed[0].1, "lost though both worlds allow it: {passed:?}");
        for some in [1, 2] {
            assert!(passed[some].1 > 0 && passed[some].1 < passed[some].0, "allowed by one: {passed:?}");
        }
        for none in [3, 4] {
            assert_eq!(passed[none].1, 0, "passed though neither world allows it: {passed:?}");
        }
    }
}
