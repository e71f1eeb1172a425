//! Published ports that only some sources may use, and published ports that change.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, Reply, require_root, udp_ask_on};
use nix::errno::Errno;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);

/// A lab in which `from` may use port 8080 of `web`.
fn manifest(from: &str) -> String {
    format!(
        "
networks:
  lab: {{subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
  other: {{subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}}
endpoints:
  web:
    network: lab
    publish:
    - {{host: 8080, container: 80{from}}}
    - {{host: 8080, container: 80, protocol: udp{from}}}
    - '9090:80'
  client: {{network: lab}}
  foreigner: {{network: other}}
"
    )
}

const OUTSIDE_ONLY: &str = ", from: [192.0.2.0/28, '2001:db8:99::/64']";
const FOREIGNER_ONLY: &str = ", from: [10.78.0.2/32, 'fd78::2/128']";

#[track_caller]
fn lost(answer: io::Result<Reply>) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

/// Asks the published port by both protocols and families.
#[track_caller]
fn may(from: &Ns, hosts: [&str; 2]) {
    for host in hosts {
        for reply in [from.tcp_ask(host, SECOND), from.udp_ask(host, SECOND)] {
            let reply = reply.unwrap_or_else(|e| panic!("{} asks {host}: {e}", from.name()));
            assert_eq!(reply.by, "web");
        }
    }
}

#[track_caller]
fn may_not(lab: &Lab, from: &Ns) {
    for host in [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")] {
        let before = lab.dropped("web", "source_not_allowed").unwrap();
        lost(from.tcp_ask(&host, SHORT));
        lost(from.udp_ask(&host, SHORT));
        assert!(lab.dropped("web", "source_not_allowed").unwrap() >= before + 2, "{host}");
    }
}

#[test]
fn only_listed_sources_may_use_a_port() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest(OUTSIDE_ONLY)).unwrap();
    let [web, client, foreigner] = ["web", "client", "foreigner"].map(|name| lab.endpoint_ns(name).unwrap());
    let _tcp = web.tcp_serve("[::]:80").unwrap();
    let [v4, v6] = lab.addresses("web").unwrap();
    let _udp = [web.udp_serve(&format!("{v4}:80")).unwrap(), web.udp_serve(&format!("[{v6}]:80")).unwrap()];
    let hosts = [&*format!("{HOST_V4}:8080"), &*format!("[{HOST_V6}]:8080")];

    may(&lab.outside, hosts);
    may_not(&lab, &client);
    may_not(&lab, &foreigner);
    // The host's own processes and the endpoint itself may always, and another port is for everybody.
    may(&lab.host, hosts);
    may(&lab.host, ["127.0.0.1:8080", "[::1]:8080"]);
    may(&web, hosts);
    for host in [format!("{HOST_V4}:9090"), format!("[{HOST_V6}]:9090")] {
        assert_eq!(foreigner.tcp_ask(&host, SECOND).unwrap().by, "web");
    }

    // Another list: what lives and is not on it any more is cut; what is on both goes on.
    let mut tcp = hosts.map(|host| lab.outside.tcp_connect(host, SHORT).unwrap());
    let udp = hosts.map(|host| lab.outside.udp_connect(None, host).unwrap());
    let mut own = lab.host.tcp_connect("127.0.0.1:8080", SECOND).unwrap();
    lab.up(&manifest(FOREIGNER_ONLY)).unwrap();
    for open in &mut tcp {
        lost(open.ask());
    }
    for socket in &udp {
        lost(udp_ask_on(socket, 0, SHORT));
    }
    own.ask().unwrap();
    may_not(&lab, &lab.outside);
    may_not(&lab, &client);
    may(&foreigner, hosts);
    let mut open = foreigner.tcp_connect(hosts[0], SECOND).unwrap();
    open.ask().unwrap();

    // No list, and connections that were cut live on.
    lab.up(&manifest("")).unwrap();
    open.ask().unwrap();
    may(&lab.outside, hosts);
    may(&client, hosts);
    for socket in &udp {
        udp_ask_on(socket, 0, SECOND).unwrap();
    }
    let ports = lab.netfast_json(&["port", "ls"]).unwrap();
    assert_eq!(ports[0]["from"].as_array().unwrap().len(), 0);
    lab.up(&manifest(OUTSIDE_ONLY)).unwrap();
    let ports = lab.netfast_json(&["port", "ls"]).unwrap();
    assert_eq!(ports[0]["from"][0], "192.0.2.0/28");
    may(&lab.outside, hosts);
    lost(foreigner.tcp_ask(hosts[0], SHORT));
}

#[test]
fn connections_of_the_host_end_with_their_port() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest("")).unwrap();
    let web = lab.endpoint_ns("web").unwrap();
    let _tcp = web.tcp_serve("[::]:80").unwrap();
    let [v4, v6] = lab.addresses("web").unwrap();
    let _udp = [web.udp_serve(&format!("{v4}:80")).unwrap(), web.udp_serve(&format!("[{v6}]:80")).unwrap()];
    let addresses = ["127.0.0.1", "[::1]", HOST_V4];
    let host = &lab.host;
    let mut tcp = addresses.map(|a| host.tcp_connect(&format!("{a}:8080"), SECOND).unwrap());
    let mut others = addresses.map(|a| host.tcp_connect(&format!("{a}:9090"), SECOND).unwrap());
    let mut direct = host.tcp_connect(&format!("{v4}:80"), SECOND).unwrap();
    let udp = addresses.map(|a| host.udp_connect(None, &format!("{a}:8080")).unwrap());
    for open in tcp.iter_mut().chain(&mut others) {
        open.ask().unwrap();
    }
    for socket in &udp {
        udp_ask_on(socket, 0, SECOND).unwrap();
    }

    // TCP moves, UDP goes.
    let moved = manifest("").replace("{host: 8080, container: 80}", "{host: 8080, container: 81}");
    lab.up(&moved.replace("    - {host: 8080, container: 80, protocol: udp}\n", "")).unwrap();
    for open in &mut tcp {
        assert_eq!(open.ask().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
    for socket in &udp {
        // It has no peer any more.
        let error = udp_ask_on(socket, 0, SECOND).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EDESTADDRREQ as i32), "{error}");
    }
    for open in &mut others {
        open.ask().unwrap();
    }
    direct.ask().unwrap();
}

/// A lab in which port 8080 leads to `target`, and 1000 others along with it.
fn leading_to(target: &str) -> String {
    let publish = |name: &str| {
        let ports =
            if name == target { "['8080:80', '8080:80/udp', '20000-20999:20000-20999']" } else { "[]" };
        format!("  {name}: {{publish: {ports}}}\n")
    };
    format!(
        "networks:\n  lab: {{subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}\nendpoints:\n{}{}",
        publish("one"),
        publish("two")
    )
}

#[test]
fn a_port_moves_without_a_gap() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&leading_to("one")).unwrap();
    let servers: Vec<_> = ["one", "two"]
        .map(|name| {
            let ns = lab.endpoint_ns(name).unwrap();
            let [v4, v6] = lab.addresses(name).unwrap();
            let udp = [format!("{v4}:80"), format!("[{v6}]:80")].map(|a| ns.udp_serve(&a).unwrap());
            (ns.tcp_serve("[::]:80").unwrap(), udp)
        })
        .into();
    let is_over = AtomicBool::new(false);
    let hosts = [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")];
    let (outside, is_over_yet) = (&lab.outside, &is_over);
    let asked: usize = thread::scope(|scope| {
        let askers: Vec<_> = hosts
            .iter()
            .map(|host| {
                scope.spawn(move || {
                    let mut asked = 0;
                    while !is_over_yet.load(Ordering::Relaxed) {
                        // What is on its way when the port moves is of a mapping that is over: an answer is lost, a
                        // connection reset. But a closed port, which the host refuses, is never seen.
                        match outside.udp_ask(host, SHORT) {
                            Ok(reply) => assert!(reply.by == "one" || reply.by == "two", "{}", reply.by),
                            Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut, "udp {host}: {e}"),
                        }
                        match outside.tcp_connect(host, 5 * SECOND) {
                            Ok(open) => drop(open),
                            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "tcp {host}: {e}"),
                        }
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for target in ["two", "one", "two", "one", "two"] {
            lab.up(&leading_to(target)).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert!(asked > 10, "{asked}");
    for host in &hosts {
        assert_eq!(outside.tcp_ask(host, SECOND).unwrap().by, "two");
    }
    drop(servers);
}
