//! Short connections through masquerade, one after the other and as fast as they go, to one address and port.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use netfast_tests::{Lab, Ns, require_root};
use socket2::{Domain, Type};

/// Whoever loses a SYN waits a second before sending it again.
const RETRANSMISSION: Duration = Duration::from_millis(900);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
endpoints:
  one: {}
  two: {}
";

/// Answers a byte on each connection. A question of 1 asks the server to close first.
fn serve(ns: &Ns, address: &str) {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let socket = ns.socket(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    let listener: TcpListener = socket.into();
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let one = || -> io::Result<()> {
                let mut stream = stream?;
                let mut question = [0];
                stream.read_exact(&mut question)?;
                stream.write_all(&question)?;
                if question == [0] {
                    // The client closes; its end is read before ours is sent.
                    let _end = stream.read(&mut question)?;
                }
                Ok(())
            };
            drop(one());
        }
    });
}

/// Connects, asks and hangs up. Returns how long the connecting took.
fn connect(ns: &Ns, address: &str, server_closes: bool) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = ns.tcp_open(None, address, Duration::from_secs(10))?;
    let took = start.elapsed();
    let question = [u8::from(server_closes)];
    stream.write_all(&question)?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer[..1])?;
    if server_closes && stream.read(&mut answer)? != 0 {
        return Err(io::Error::other("the server sent more than was asked for"));
    }
    Ok(took)
}

#[test]
fn none_of_many_short_connections_fails() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(MANIFEST).unwrap();
    let whole = std::env::var_os("NETFAST_TEST_ALL").is_some();
    let time = Duration::from_secs(if whole { 60 } else { 10 });
    // Some of the ports are of the range that masquerade keeps.
    for endpoint in ["one", "two"] {
        let path = "/proc/sys/net/ipv4/ip_local_port_range";
        let ns = lab.endpoint_ns(endpoint).unwrap();
        ns.run(|| Ok(std::fs::write(path, "20000 60999")?)).unwrap();
    }
    let addresses = ["192.0.2.2:80", "[2001:db8:99::2]:80"];
    for address in addresses {
        serve(&lab.outside, address);
    }
    thread::scope(|scope| {
        for (endpoint, address) in ["one", "two"].into_iter().zip(addresses) {
            let ns = lab.endpoint_ns(endpoint).unwrap();
            scope.spawn(move || {
                let start = Instant::now();
                let (mut count, mut failed, mut slow) = (0_u32, Vec::new(), 0);
                // A namespace is entered once: each connection would else begin with a thread.
                ns.run(|| {
                    while start.elapsed() < time {
                        match connect(&ns, address, count % 2 == 0) {
                            Ok(took) if took > RETRANSMISSION => slow += 1,
                            Ok(_) => {}
                            Err(error) => failed.push(format!("{count}: {error}")),
                        }
                        count += 1;
                    }
                    Ok(())
                })
                .unwrap();
                let rate = f64::from(count) / time.as_secs_f64();
                eprintln!("{endpoint} to {address}: {count} connections, {rate:.0} a second");
                assert!(count > 100);
                assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
                // In the whole minute all ports are used again before the server has forgotten their last use.
                let most = if whole { count / 1000 } else { 0 };
                assert!(slow <= most, "{slow} took a second SYN");
            });
        }
    });
    for endpoint in ["one", "two"] {
        assert_eq!(lab.dropped(endpoint, "masquerade_exhausted").unwrap(), 0);
    }
}
