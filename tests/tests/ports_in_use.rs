//! A port of the host has one owner: an endpoint it is published for, or a process of the host.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netfast_tests::{HOST_V4, Lab, Ns, bind_when_free, require_root};
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

const SECOND: Duration = Duration::from_secs(1);

/// A lab with one endpoint that publishes `ports`.
fn manifest(ports: &str) -> String {
    format!(
        "networks:\n  lab: {{subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}\nendpoints:\n  web: {{publish: [{ports}]}}\n"
    )
}

/// Binds a socket of the kind `ns` has.
fn bind(ns: &Ns, kind: Type, address: &str, set: impl FnOnce(&Socket)) -> io::Result<Socket> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = ns.socket(Domain::for_address(address), kind, None).unwrap();
    set(&socket);
    socket.bind(&address.into())?;
    Ok(socket)
}

fn plainly(_: &Socket) {}

#[track_caller]
fn refused(ns: &Ns, kind: Type, address: &str) {
    let options: [fn(&Socket); 3] = [
        plainly,
        |socket| socket.set_reuse_address(true).unwrap(),
        |socket| socket.set_reuse_port(true).unwrap(),
    ];
    for set in options {
        let error = bind(ns, kind, address, set).err().unwrap_or_else(|| panic!("{address} was free"));
        assert_eq!(error.raw_os_error(), Some(Errno::EADDRINUSE as i32), "{address}: {error}");
    }
}

#[track_caller]
fn free(ns: &Ns, kind: Type, address: &str) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = ns.socket(Domain::for_address(address), kind, None).unwrap();
    bind_when_free(&socket, address).unwrap_or_else(|e| panic!("{address}: {e}"));
    socket
}

/// What `netfast up` complains of.
#[track_caller]
fn complaint(lab: &Lab, ports: &str) -> String {
    format!("{:#}", lab.up(&manifest(ports)).unwrap_err())
}

#[test]
fn a_published_port_cannot_be_bound() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest("'8080:80', '5353:53/udp', '192.0.2.1:8081:80', '[::1]:8082:80', '127.0.0.1:8083:80'"))
        .unwrap();
    let status = lab.netfast_json(&["status"]).unwrap();
    for program in ["post_bind4", "post_bind6", "connect4"] {
        let is_shown = |link: &serde_json::Value| link["program"] == program && link["hook"] == "cgroup";
        assert!(status["links"].as_array().unwrap().iter().any(is_shown), "{program} in {status:#}");
    }
    let host = &lab.host;
    for address in ["0.0.0.0", "127.0.0.1", HOST_V4, "[::]", "[::1]", "[::ffff:127.0.0.1]"] {
        refused(host, Type::STREAM, &format!("{address}:8080"));
        refused(host, Type::DGRAM, &format!("{address}:5353"));
        // The other protocol, the next port and the endpoint's own port are nobody's.
        free(host, Type::DGRAM, &format!("{address}:8080"));
        free(host, Type::STREAM, &format!("{address}:5353"));
        free(host, Type::STREAM, &format!("{address}:80"));
    }
    // Published on one address: that one, and whatever holds it.
    for (port, taken, others) in [
        (8081, &[HOST_V4, "0.0.0.0", "[::]"][..], &["127.0.0.1", "[::1]"][..]),
        (8082, &["[::1]", "[::]"], &["127.0.0.1", "0.0.0.0", HOST_V4]),
        (8083, &["127.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"], &[HOST_V4, "[::1]"]),
    ] {
        for address in taken {
            refused(host, Type::STREAM, &format!("{address}:{port}"));
        }
        for address in others {
            free(host, Type::STREAM, &format!("{address}:{port}"));
            free(host, Type::DGRAM, &format!("{address}:{port}"));
        }
    }
    // Another namespace has ports of its own.
    let web = lab.endpoint_ns("web").unwrap();
    free(&web, Type::STREAM, "0.0.0.0:8080");
    free(&lab.outside, Type::STREAM, "[::]:8080");
    // A port that is published no more is free again.
    lab.up(&manifest("")).unwrap();
    let _server = host.tcp_serve("[::]:8080").unwrap();
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:8080"), SECOND).unwrap().by, "host");
}

#[test]
fn a_port_that_a_process_holds_cannot_be_published() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest("'8000:80'")).unwrap();
    let host = &lab.host;
    let own = format!("process {}, ", std::process::id());
    for (kind, protocol) in [(Type::STREAM, "tcp"), (Type::DGRAM, "udp")] {
        for (held, addr, ports) in [
            ("0.0.0.0:8080", "0.0.0.0", &["8080:80", "127.0.0.1:8080:80", "8000-8090:8000-8090"][..]),
            ("127.0.0.1:8080", "127.0.0.1", &["8080:80", "127.0.0.1:8080:80"]),
            ("[::]:8080", "::", &["8080:80", "127.0.0.1:8080:80", "[::1]:8080:80"]),
            ("[::1]:8080", "::1", &["8080:80", "[::1]:8080:80"]),
        ] {
            let socket = free(host, kind, held);
            if kind == Type::STREAM {
                socket.listen(1).unwrap();
            }
            for ports in ports {
                let complaint = complaint(&lab, &format!("'{ports}/{protocol}'"));
                let wanted =
                    format!("endpoint default/web: publish: port 8080/{protocol}: Address already in use");
                let wanted = wanted.replace("default/", "");
                assert!(complaint.contains(&wanted), "{complaint}");
                assert!(
                    complaint.contains(&own) && complaint.contains(&format!("has it on {addr} (")),
                    "{complaint}"
                );
            }
        }
        // What does not stand in the way, once all of these are closed.
        drop(free(host, kind, "[::]:8080"));
        let _other = free(host, kind, "127.0.0.1:8080");
        lab.up(&manifest(&format!("'192.0.2.1:8080:80/{protocol}', '[::1]:8080:80/{protocol}'"))).unwrap();
        lab.up(&manifest("'8000:80'")).unwrap();
    }
    // Nothing was lost: the port of before is still published.
    refused(host, Type::STREAM, "0.0.0.0:8000");
}

#[test]
fn connections_hold_no_port() {
    require_root!();
    let lab = Lab::new().unwrap();
    let _server = lab.outside.tcp_serve("0.0.0.0:80").unwrap();
    let from: SocketAddr = format!("{HOST_V4}:8080").parse().unwrap();
    let mut open = lab.host.tcp_connect_from(Some(from), "192.0.2.2:80", SECOND).unwrap();
    open.ask().unwrap();
    let _peer = lab.host.udp_connect(Some(from), "192.0.2.2:80").unwrap();
    // Nor does a process of another namespace.
    let _elsewhere = lab.outside.tcp_serve("[::]:8080").unwrap();
    lab.up(&manifest("'8080:80', '8080:80/udp'")).unwrap();
    // Once more: what is published is not in its own way.
    lab.up(&manifest("'8080:80', '8080:80/udp'")).unwrap();
    lab.up(&manifest("'8080:81', '8080:80/udp'")).unwrap();
}

/// It is told without a look at all sockets, if nobody has the port.
#[test]
fn nor_for_an_endpoint_that_is_added() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest("")).unwrap();
    let add = || lab.netfast(&["endpoint", "add", "more", "-p", "8080:80", "-p", "8080:80/udp"]).unwrap();
    for (kind, protocol) in [(Type::STREAM, "tcp"), (Type::DGRAM, "udp")] {
        for address in ["0.0.0.0:8080", "[::1]:8080"] {
            let _held = free(&lab.host, kind, address);
            let done = add();
            assert_eq!(done.status.code(), Some(1), "{address}/{protocol}");
            assert!(
                done.stderr.contains(&format!("port 8080/{protocol}: Address already in use")),
                "{}",
                done.stderr
            );
        }
    }
    // Neither a connection nor one that lingers holds it.
    let _server = lab.outside.tcp_serve("0.0.0.0:80").unwrap();
    let from: SocketAddr = format!("{HOST_V4}:8080").parse().unwrap();
    let mut open = lab.host.tcp_connect_from(Some(from), "192.0.2.2:80", SECOND).unwrap();
    open.ask().unwrap();
    for _ in 0..2 {
        let done = add();
        assert!(done.success(), "{}", done.stderr);
        lab.netfast_ok(&["endpoint", "rm", "more"]).unwrap();
        open = lab.host.tcp_connect_from(None, "192.0.2.2:80", SECOND).unwrap();
    }
    drop(open);
}

#[test]
fn a_free_port_is_one_that_nobody_holds() {
    require_root!();
    let lab = Lab::new().unwrap();
    let _first = free(&lab.host, Type::STREAM, "127.0.0.1:61000");
    let _listening = lab.host.tcp_serve("[::]:61001").unwrap();
    let _pool = free(&lab.host, Type::DGRAM, "127.0.0.1:7000");
    let ports = "'80', '80/udp', '7000-7003:53/udp', '127.0.0.1::80', '7000-7003:54/udp', '70-72', '7000-7003:53/tcp'";
    for _ in 0..2 {
        lab.up(&manifest(ports)).unwrap();
        let ports = lab.netfast_json(&["port", "ls"]).unwrap();
        let mut found: Vec<_> = ports
            .as_array()
            .unwrap()
            .iter()
            .map(|port| {
                let word = |field: &str| port[field].as_str().unwrap_or_default().to_owned();
                format!("{}{}:{}/{}", word("host_ip"), word("host"), word("container"), word("protocol"))
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "127.0.0.161003:80/tcp",
                "61000:80/udp",
                "61002:80/tcp",
                "61004-61006:70-72/tcp",
                "7000:53/tcp",
                "7001:53/udp",
                "7002:54/udp",
            ]
        );
    }
    let web = lab.endpoint_ns("web").unwrap();
    let _server = web.udp_serve("10.77.0.2:54").unwrap();
    assert_eq!(lab.outside.udp_ask(&format!("{HOST_V4}:7002"), SECOND).unwrap().by, "web");
    let full = "'7000-7001:53/udp', '7000-7001:54/udp', '7000-7001:55/udp'";
    let complaint = complaint(&lab, full);
    assert!(complaint.contains("no port of 7000-7001/udp is free for 5"), "{complaint}");
}

#[test]
fn ten_thousand_ports_at_once() {
    require_root!();
    let lab = Lab::new().unwrap();
    lab.up(&manifest("")).unwrap();
    let mut last = 0;
    for (name, ports) in [("many", "20000-29999:20000-29999"), ("udp", "20000-29999:30000-39999/udp")] {
        let start = Instant::now();
        lab.netfast_ok(&["endpoint", "add", name, "--publish", ports]).unwrap();
        eprintln!("{ports} took {:?}", start.elapsed());
        assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
        last += 1;
    }
    assert_eq!(last, 2);
    let many = lab.endpoint_ns("many").unwrap();
    let _server = many.tcp_serve("[::]:29999").unwrap();
    for address in [HOST_V4, "[2001:db8:99::1]"] {
        assert_eq!(lab.outside.tcp_ask(&format!("{address}:29999"), SECOND).unwrap().by, "many");
    }
    refused(&lab.host, Type::STREAM, "127.0.0.1:20000");
    // More than there is room for is refused, and nothing is lost.
    let complaint = format!(
        "{:#}",
        lab.netfast_ok(&["endpoint", "add", "more", "--publish", "30000-59999:30000-59999"]).unwrap_err()
    );
    assert!(complaint.contains("need 100000 rows, and there is room for 65536"), "{complaint}");
    assert_eq!(lab.outside.tcp_ask(&format!("{HOST_V4}:29999"), SECOND).unwrap().by, "many");
    let start = Instant::now();
    lab.netfast_ok(&["endpoint", "rm", "many"]).unwrap();
    eprintln!("removal took {:?}", start.elapsed());
    free(&lab.host, Type::STREAM, "127.0.0.1:20000");
    refused(&lab.host, Type::DGRAM, "127.0.0.1:20000");
}
