//! Floods from addresses that are nobody's: what is established goes on, and new connections come about.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test panics where it fails, in its helpers too, and tells how fast it was"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{
    Conversation, Crowd, FrameSocket, Frames, HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6,
    require_root, stranger, udp_ask_on,
};
use serde_json::Value;
use socket2::Socket;

const SECOND: Duration = Duration::from_secs(1);
/// For what a flood delays.
const PATIENCE: Duration = Duration::from_secs(5);

/// `8081` leads to a port without server, `5353` to a server of datagrams.
const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  web: {publish: ['8080:80', '8081:81', '5353:53/udp']}
  client: {}
";

/// Packets of each flood: ten times the flows of the nursery, or with `NETFAST_TEST_ALL=1` ten times the table of
/// settled flows.
fn packets() -> u32 {
    if std::env::var_os("NETFAST_TEST_ALL").is_some() { 1_310_720 } else { 163_840 }
}

/// Frames handed to the kernel at once.
const BATCH: u32 = 128;

#[derive(Clone, Copy, Debug)]
enum Flood {
    OpenPort,
    ClosedPort,
    Datagrams,
}

impl Flood {
    const ALL: [Self; 3] = [Self::OpenPort, Self::ClosedPort, Self::Datagrams];

    /// The frames of the crowd, for IPv4 and IPv6.
    fn crowds(self, frames: Frames) -> [Crowd; 2] {
        [(HOST_V4, true), (HOST_V6, false)].map(|(host, is_v4)| {
            let to = |port| SocketAddr::new(host.parse().unwrap(), port);
            let from = stranger(0, is_v4);
            let frame = match self {
                Self::OpenPort => frames.syn(from, to(8080), 1),
                Self::ClosedPort => frames.syn(from, to(8081), 1),
                Self::Datagrams => frames.udp(from, to(5353), b"0\n"),
            };
            Crowd::new(frame.unwrap())
        })
    }

    /// Sends packets of which no two are of one flow. Returns how many.
    fn run(self, socket: &FrameSocket, frames: Frames) -> u32 {
        let first = (self as u32) << 28;
        let mut crowds = self.crowds(frames);
        let mut sent = 0;
        while sent < packets() {
            let batch: Vec<_> = (sent..sent + BATCH)
                .map(|number| {
                    let is_v4 = number % 2 == 0;
                    crowds[usize::from(!is_v4)].sent_by(stranger(first + number, is_v4))
                })
                .collect();
            sent += u32::try_from(socket.send(&batch).unwrap()).unwrap();
        }
        sent
    }
}

/// Established flows, with the address by which their servers know them.
struct Flows {
    tcp: Vec<(Conversation, SocketAddr)>,
    udp: Vec<(Socket, SocketAddr)>,
}

impl Flows {
    /// A hundred: published, masqueraded, and between endpoints, half of them IPv6.
    fn open(lab: &Lab, client: &Ns) -> Self {
        let mut flows = Self { tcp: Vec::new(), udp: Vec::new() };
        let web = lab.addresses("web").unwrap();
        let families = [
            (HOST_V4.to_owned(), OUTSIDE_V4.to_owned()),
            (format!("[{HOST_V6}]"), format!("[{OUTSIDE_V6}]")),
        ];
        for ((host, outside), web) in families.into_iter().zip(web) {
            for _ in 0..15 {
                flows.tcp(&lab.outside, &format!("{host}:8080"));
            }
            for _ in 0..10 {
                flows.tcp(client, &format!("{outside}:80"));
                flows.tcp(client, &SocketAddr::new(web, 80).to_string());
                flows.udp(client, &format!("{outside}:54"));
            }
            for _ in 0..5 {
                flows.udp(client, &SocketAddr::new(web, 54).to_string());
            }
        }
        assert_eq!(flows.tcp.len() + flows.udp.len(), 100);
        flows
    }

    fn tcp(&mut self, from: &Ns, to: &str) {
        let mut conversation = from.tcp_connect(to, 2 * PATIENCE).unwrap();
        let seen = conversation.ask().unwrap().seen_source;
        self.tcp.push((conversation, seen));
    }

    fn udp(&mut self, from: &Ns, to: &str) {
        let socket = from.udp_connect(None, to).unwrap();
        let seen = udp_ask_on(&socket, 10, SECOND).unwrap().seen_source;
        udp_ask_on(&socket, 10, SECOND).unwrap();
        self.udp.push((socket, seen));
    }

    /// Exchanges data until told to end. Returns the longest time an exchange over TCP took, and how many there were.
    fn exchange(&mut self, end: &AtomicBool) -> (Duration, u32) {
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while !end.load(Ordering::Relaxed) {
            for (conversation, _) in &mut self.tcp {
                let start = Instant::now();
                conversation.swap(3_000).unwrap();
                longest = longest.max(start.elapsed());
                count += 1;
            }
            for (socket, _) in &self.udp {
                // A datagram may be lost on the way; what comes is checked.
                if let Err(e) = udp_ask_on(socket, 300, SECOND / 10) {
                    assert_eq!(e.kind(), std::io::ErrorKind::TimedOut, "{e}");
                }
            }
        }
        (longest, count)
    }

    /// Sees that each is the flow that it was.
    fn check(&mut self) {
        for (conversation, seen) in &mut self.tcp {
            assert_eq!(conversation.ask().unwrap().seen_source, *seen);
        }
        for (socket, seen) in &self.udp {
            let answer = (0..3).find_map(|_| udp_ask_on(socket, 10, SECOND).ok());
            assert_eq!(answer.unwrap().seen_source, *seen);
        }
    }
}

/// How many new connections were tried, and how many came about.
#[derive(Default)]
struct Connects {
    tried: AtomicU32,
    done: AtomicU32,
}

impl Connects {
    fn run(&self, from: &Ns, to: &[String], end: &AtomicBool) {
        for to in to.iter().cycle() {
            if end.load(Ordering::Relaxed) {
                return;
            }
            self.tried.fetch_add(1, Ordering::Relaxed);
            match from.tcp_connect(to, PATIENCE).and_then(|mut conversation| conversation.ask()) {
                Ok(_) => drop(self.done.fetch_add(1, Ordering::Relaxed)),
                Err(e) => eprintln!("  {to}: {e}"),
            }
            thread::sleep(Duration::from_millis(40));
        }
    }
}

fn table(lab: &Lab) -> Value {
    // A filter that selects nothing: only the totals are of interest.
    lab.netfast_json(&["flow", "ls", "--port", "1"]).unwrap()["table"].clone()
}

/// How many datagrams the servers of a namespace have read, of both families.
fn datagrams_read(ns: &Ns) -> i64 {
    let read = |file: &str| ns.finish("cat", &[file], SECOND).unwrap().stdout;
    let v4 = read("/proc/net/snmp");
    let v4 = v4.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).unwrap();
    let v6 = read("/proc/net/snmp6");
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6InDatagrams")).unwrap();
    [v4, v6].map(|text| text.split_whitespace().next().unwrap().parse::<i64>().unwrap()).iter().sum()
}

#[test]
fn settled_flows_outlive_floods() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let [web, client] = ["web", "client"].map(|name| lab.endpoint_ns(name).unwrap());
    let _servers = [web.tcp_serve("[::]:80").unwrap(), lab.outside.tcp_serve("[::]:80").unwrap()];
    let mut datagrams = Vec::new();
    for (address, outside) in lab.addresses("web").unwrap().into_iter().zip([OUTSIDE_V4, OUTSIDE_V6]) {
        for port in [53, 54] {
            datagrams.push(web.udp_serve(&SocketAddr::new(address, port).to_string()).unwrap());
        }
        let outside = SocketAddr::new(outside.parse().unwrap(), 54);
        datagrams.push(lab.outside.udp_serve(&outside.to_string()).unwrap());
    }
    let mut idle: Vec<_> = [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")]
        .iter()
        .map(|to| lab.outside.tcp_connect(to, 2 * PATIENCE).unwrap())
        .collect();
    for conversation in &mut idle {
        conversation.ask().unwrap();
    }
    let mut flows = Flows::open(&lab, &client);

    let socket = lab.outside.frame_socket("eth0").unwrap();
    let frames = Frames { from: lab.outside.mac("eth0").unwrap(), to: lab.host.mac("uplink0").unwrap() };
    for flood in Flood::ALL {
        let (before, read) = (table(&lab), datagrams_read(&web));
        let end = AtomicBool::new(false);
        let connects = Connects::default();
        let (sent, took, (longest, exchanges)) = thread::scope(|scope| {
            let exchange = scope.spawn(|| flows.exchange(&end));
            let published = [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")];
            let masqueraded = [format!("{OUTSIDE_V4}:80"), format!("[{OUTSIDE_V6}]:80")];
            for (from, to) in [(&lab.outside, published), (&client, masqueraded)] {
                let (connects, end) = (&connects, &end);
                scope.spawn(move || connects.run(from, &to, end));
            }
            let start = Instant::now();
            let sent = flood.run(&socket, frames);
            let took = start.elapsed();
            end.store(true, Ordering::Relaxed);
            (sent, took, exchange.join().unwrap())
        });
        let after = table(&lab);
        let (tried, done) = (connects.tried.into_inner(), connects.done.into_inner());
        eprintln!(
            "{flood:?}: {sent} packets in {took:.1?} ({:.0}/s), {done} of {tried} connects, {exchanges} exchanges, \
             the longest {longest:.1?}; {after}",
            f64::from(sent) / took.as_secs_f64()
        );
        flows.check();
        assert!(longest < PATIENCE, "an exchange took {longest:?}");
        assert!(tried >= 20 && done * 100 >= tried * 99, "{done} of {tried} connections came about");

        // Each packet made two entries, which are there still or were evicted. So did each answer that came when its
        // flow had been evicted already: nothing told it from a first packet of the server's.
        let count = |view: &Value, field: &str| view[field].as_i64().unwrap();
        let grown = |field: &str| count(&after, field) - count(&before, field);
        let expected = 2 * i64::from(sent) - grown("new");
        let evicted = grown("evicted");
        let late = if matches!(flood, Flood::Datagrams) { 2 * (datagrams_read(&web) - read) } else { 0 };
        assert!(
            evicted * 100 >= expected * 99 && evicted * 100 <= (expected + late) * 101,
            "evicted {evicted}, expected {expected}, and at most {late} for late answers"
        );
    }
    for conversation in &mut idle {
        conversation.ask().unwrap();
    }
}
