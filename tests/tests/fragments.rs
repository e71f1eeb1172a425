//! Fragments that overtake the first one of their packet arrive nevertheless.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use netfast_tests::{
    HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Piece, Protocol, Raw, TTL, UdpQuestion, WAYS, Way,
    Ways, Who, eventually, require_root, udp_ask_on, udp_pieces,
};
use socket2::Socket;

const PATIENCE: Duration = Duration::from_secs(5);
const NONE: [String; 0] = [];

/// An order in which pieces are sent.
type Order = fn(Vec<Piece>) -> Vec<Piece>;

fn reversed(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.reverse();
    pieces
}

/// The first one in the middle, and the others in no order.
fn shuffled(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let (middle, last) = (pieces.len() / 2, pieces.len() - 1);
    pieces.rotate_left(1);
    pieces[..middle].reverse();
    pieces.swap(middle, last);
    pieces
}

/// Some come twice: one before the first, one behind it, and the first itself.
fn repeated(pieces: Vec<Piece>) -> Vec<Piece> {
    let (first, last) = (pieces[0].clone(), pieces[pieces.len() - 1].clone());
    let mut all = vec![last.clone(), last.clone()];
    all.extend(pieces);
    all.extend([first, last]);
    all
}

/// The addresses of a connected socket: its own, and its peer's.
fn ends(socket: &Socket) -> [SocketAddr; 2] {
    [socket.local_addr(), socket.peer_addr()].map(|addr| addr.unwrap().as_socket().unwrap())
}

/// Asks by one way in pieces of `piece` bytes, and sees who was seen to ask.
fn ask(ways: &Ways, way: &Way, family: usize, (size, piece): (usize, usize), order: Order) -> Result<()> {
    let port = if way.is_published { 5353 } else { 53 };
    let to = SocketAddr::new(way.to[family].parse()?, port);
    let seen = ask_from(ways.ns(way.from)?, to, (size, piece), order)?;
    ensure!(seen.to_string() == way.seen[family], "{seen} was seen");
    Ok(())
}

/// As [`ask`], from one namespace to one address. Returns the source that was seen.
fn ask_from(ns: &Ns, to: SocketAddr, (size, piece): (usize, usize), order: Order) -> Result<IpAddr> {
    let socket = ns.udp_connect(None, &to.to_string())?;
    let [from, _] = ends(&socket);
    let question = UdpQuestion::new(size);
    let pieces = udp_pieces(from, to, from.port(), question.payload(), piece)?;
    ns.send_pieces(to.ip(), &order(pieces))?;
    Ok(question.answered(&socket, PATIENCE)?.seen_source.ip())
}

/// Ways by which a raw packet goes as others do: what the host's processes send to published ports is translated at their
/// sockets.
fn is_on_the_wire(way: &Way) -> bool {
    !(way.from == Who::Host && way.is_published)
}

/// Asks in pieces out of order by all ways.
fn all_ways(ways: &Ways) {
    ways.all(|way, family, protocol| {
        if protocol == Protocol::Udp && is_on_the_wire(way) {
            for (sizes, order) in
                [((600, 256), reversed as Order), ((8_000, 1_400), shuffled), ((60_000, 1_400), repeated)]
            {
                ask(ways, way, family, sizes, order)?;
            }
        }
        Ok(())
    })
    .unwrap();
}

/// Endpoint to endpoint, the simplest way.
const DIRECT: &Way = &WAYS[0];

/// The namespace in which they are put in order.
fn helper(lab: &Lab) -> Ns {
    lab.host.open("defrag", &lab.dir().join("run/netns/+defrag")).unwrap()
}

/// A setting or count of a namespace.
fn read(ns: &Ns, key: &str) -> String {
    let path = Path::new("/proc/sys/net").join(key);
    ns.run(|| Ok(std::fs::read_to_string(path)?)).unwrap().trim().to_owned()
}

fn counted(lab: &Lab, kind: &str, name: &str) -> u64 {
    lab.netfast_json(&["status"]).unwrap()["counters"][kind][name]["packets"].as_u64().unwrap()
}

#[test]
fn out_of_order_by_all_ways() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    all_ways(&ways);
    // What the host serves itself comes in by the same uplink.
    for family in [0, 1] {
        let to = [[HOST_V4, HOST_V6], [OUTSIDE_V4, OUTSIDE_V6]];
        let way = Way {
            name: "outside to the host",
            from: Who::Outside,
            to: to[0],
            is_published: false,
            server: Who::Host,
            seen: to[1],
            denied: [None, None],
        };
        ask(&ways, &way, family, (8_000, 1_400), shuffled).unwrap();
    }
    assert!(counted(&ways.lab, "paths", "to_defrag") > 1000);
    assert_eq!(counted(&ways.lab, "drops", "fragment_unknown"), 0);
    // No connection is tracked, here or there, and nobody but netfast knows the place.
    for ns in [&helper(&ways.lab), &ways.lab.host] {
        assert_eq!(read(ns, "netfilter/nf_conntrack_count"), "0");
    }
    assert_eq!(ways.lab.host.ip("route show table all").unwrap().matches("nf0-").count(), 0);
    ways.lab.down().unwrap();
    assert_eq!(ways.lab.leftovers().unwrap(), NONE);
}

#[test]
fn out_of_order_with_clsact() {
    require_root!();
    let lab = Lab::new().unwrap();
    let manifest =
        "networks: {lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}\nendpoints: {client: {}, web: {}}\n";
    let file = lab.file("netfast.yaml", manifest).unwrap();
    lab.netfast_ok(&["--attach", "clsact", "up", "-d", "-f", &file]).unwrap();
    let [client, web] = ["client", "web"].map(|name| lab.endpoint_ns(name).unwrap());
    for address in lab.addresses("web").unwrap() {
        let to = SocketAddr::new(address, 53);
        let _server = web.udp_serve(&to.to_string()).unwrap();
        ask_from(&client, to, (8_000, 1_400), shuffled).unwrap();
    }
    lab.netfast_ok(&["--attach", "clsact", "down"]).unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}

/// They arrive as they were sent, but for the order.
#[test]
fn the_receiver_gets_them_in_order_and_unchanged() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let [client, web] = ["client", "web"].map(|name| ways.ns(Who::Endpoint(name)).unwrap());
    for family in [0, 1] {
        let heard = web.raw("eth0").unwrap();
        let to = SocketAddr::new(DIRECT.to[family].parse().unwrap(), 53);
        let socket = client.udp_connect(None, &to.to_string()).unwrap();
        let [from, _] = ends(&socket);
        let question = UdpQuestion::new(3_000);
        let pieces = udp_pieces(from, to, 77, question.payload(), 1_024).unwrap();
        assert_eq!(pieces.len(), 3);
        client.send_pieces(to.ip(), &reversed(pieces.clone())).unwrap();
        question.answered(&socket, PATIENCE).unwrap();
        for sent in pieces {
            let arrived = next_fragment(&heard, from.ip());
            let skipped = if family == 0 {
                assert_eq!(arrived[8], TTL);
                20
            } else {
                assert_eq!(arrived[7], TTL);
                48
            };
            assert_eq!(arrived[skipped..], sent[skipped..]);
        }
    }
}

/// The IP packet of the next fragment from an address that comes in.
fn next_fragment(heard: &Raw, from: IpAddr) -> Vec<u8> {
    loop {
        let frame = heard.next(PATIENCE).unwrap();
        let is_one = match from {
            IpAddr::V4(from) => {
                frame[12..14] == [8, 0] && frame[26..30] == from.octets() && frame[20..22] != [0x40, 0]
            }
            IpAddr::V6(from) => {
                frame[12..14] == [0x86, 0xdd] && frame[22..38] == from.octets() && frame[20] == 44
            }
        };
        if is_one {
            return frame[14..].to_vec();
        }
    }
}

#[test]
fn answers_to_masqueraded_questions_out_of_order() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let client = ways.ns(Who::Endpoint("client")).unwrap();
    for family in [0, 1] {
        let server = SocketAddr::new([OUTSIDE_V4, OUTSIDE_V6][family].parse().unwrap(), 53);
        let socket = client.udp_connect(None, &server.to_string()).unwrap();
        let seen = udp_ask_on(&socket, 100, PATIENCE).unwrap().seen_source;
        let answer: Vec<u8> = (0..9_000_u32).map(|n| (n % 251) as u8).collect();
        let pieces = udp_pieces(server, seen, 78, &answer, 1_400).unwrap();
        ways.lab.outside.send_pieces(seen.ip(), &shuffled(pieces)).unwrap();
        let mut got = vec![0; 10_000];
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = (&socket).read(&mut got).unwrap();
        assert!(got[..length] == answer);
    }
}

const NOBODY_IN: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn policies_judge_what_was_put_in_order() {
    require_root!();
    let ways = Ways::new(Some(NOBODY_IN)).unwrap();
    let client = ways.ns(Who::Endpoint("client")).unwrap();
    for family in [0, 1] {
        let denied = || ways.lab.dropped("web", "policy_ingress").unwrap();
        let before = denied();
        let heard = ways.ns(Who::Endpoint("web")).unwrap().raw("eth0").unwrap();
        let to = SocketAddr::new(DIRECT.to[family].parse().unwrap(), 53);
        let from = SocketAddr::new(DIRECT.seen[family].parse().unwrap(), 4000);
        let pieces = udp_pieces(from, to, 79, &[7; 3_000], 1_024).unwrap();
        client.send_pieces(to.ip(), &reversed(pieces)).unwrap();
        eventually("all three are dropped", || denied() == before + 3);
        let from_client = |frame: &[u8]| frame.windows(16).any(|bytes| bytes == [7; 16]);
        while let Some(frame) = heard.next(Duration::ZERO) {
            assert!(!from_client(&frame), "arrived: {frame:02x?}");
        }
    }
    assert_eq!(counted(&ways.lab, "drops", "fragment_unknown"), 0);
}

/// A piece of IPv4 as one of TCP. The kernel makes its checksum.
fn of_tcp(mut piece: Piece) -> Piece {
    piece[9] = 6;
    piece
}

#[test]
fn a_flood_of_lone_fragments_hurts_nobody_who_is_in_order() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let lab = &ways.lab;
    let client = ways.ns(Who::Endpoint("client")).unwrap();
    let mut sent = 0;
    for (family, ids) in [(0, 0..20_000_u16), (1, 0..20_000)] {
        let to = SocketAddr::new(DIRECT.to[family].parse().unwrap(), 53);
        let from = SocketAddr::new(DIRECT.seen[family].parse().unwrap(), 4000);
        let lone = ids.map(|id| udp_pieces(from, to, id, &[7; 24], 16).unwrap().pop().unwrap());
        // Of IPv4 they are of another protocol than the questions: those have numbers of 16 bits that the kernel chooses, and
        // pieces of two packets of one sender, protocol and number would be taken for one's.
        let lone: Vec<_> = lone.map(|piece| if family == 0 { of_tcp(piece) } else { piece }).collect();
        sent += lone.len() as u64;
        client.send_pieces(to.ip(), &lone).unwrap();
        // Others come through meanwhile, in fragments too.
        for (way, published) in [(&WAYS[1], 5353), (&WAYS[2], 53), (DIRECT, 53)] {
            let to = SocketAddr::new(way.to[family].parse().unwrap(), published);
            let socket = ways.ns(way.from).unwrap().udp_connect(None, &to.to_string()).unwrap();
            udp_ask_on(&socket, 20_000, PATIENCE).unwrap();
        }
    }
    let [diverted, dropped] =
        [("paths", "to_defrag"), ("drops", "fragment_unknown")].map(|(kind, name)| counted(lab, kind, name));
    assert_eq!(diverted + dropped, sent);
    assert!(diverted > 0 && dropped > 0, "{diverted} {dropped}");
    // When it is over, all is as before.
    for family in [0, 1] {
        eventually("they arrive again", || ask(&ways, DIRECT, family, (8_000, 1_400), shuffled).is_ok());
    }
    assert_eq!(read(&helper(lab), "netfilter/nf_conntrack_count"), "0");
}

/// A packet that never gets complete is given up after five seconds. Its sender is not told of that by the place.
#[test]
fn the_place_itself_says_nothing() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let client = ways.ns(Who::Endpoint("client")).unwrap();
    let heard = ways.lab.host.raw(&device(&ways.lab)).unwrap();
    for family in [0, 1] {
        let to = SocketAddr::new(DIRECT.to[family].parse().unwrap(), 53);
        let from = SocketAddr::new(DIRECT.seen[family].parse().unwrap(), 4000);
        let mut pieces = reversed(udp_pieces(from, to, 80, &[7; 4_000], 1_024).unwrap());
        pieces.remove(1);
        client.send_pieces(to.ip(), &pieces).unwrap();
    }
    let told = heard.find(Duration::from_secs(8), |_| true);
    assert_eq!(told, None, "the place spoke");
    assert_eq!(counted(&ways.lab, "drops", "fragment_unknown"), 0);
}

/// Ways to take the place away.
#[expect(clippy::type_complexity, reason = "it is a table")]
const BREAKS: &[(&str, fn(&Lab))] = &[
    ("its device deleted", |lab| drop(lab.host.ip(&format!("link del {}", device(lab))).unwrap())),
    ("its device down", |lab| drop(lab.host.ip(&format!("link set {} down", device(lab))).unwrap())),
    ("its device renamed", |lab| drop(lab.host.ip(&format!("link set {} name other", device(lab))).unwrap())),
    ("its namespace unmounted", |lab| {
        let path = lab.dir().join("run/netns/+defrag").display().to_string();
        assert!(lab.host.finish("umount", &["-l", &path], PATIENCE).unwrap().success());
    }),
    ("its rules deleted", |lab| {
        assert!(helper(lab).finish("nft", &["flush", "ruleset"], PATIENCE).unwrap().success());
    }),
    ("its route deleted", |lab| drop(helper(lab).ip("route del default").unwrap())),
    ("its IPv6 route deleted", |lab| drop(helper(lab).ip("-6 route del default").unwrap())),
    ("its device inside down", |lab| drop(helper(lab).ip("link set defrag down").unwrap())),
    ("its forwarding off", |lab| {
        let write = || Ok(std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "0")?);
        helper(lab).run(write).unwrap();
    }),
];

fn device(lab: &Lab) -> String {
    lab.host.links().unwrap().into_iter().find(|link| link.starts_with("nf0-")).unwrap()
}

#[test]
fn the_next_command_makes_the_place_anew() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let lab = &ways.lab;
    for (n, (name, break_it)) in BREAKS.iter().enumerate() {
        break_it(lab);
        let status = lab.netfast_json(&["status"]).unwrap();
        let told = status["problems"].to_string();
        assert!(told.contains("the namespace for fragments: it"), "{name}: {told}");
        lab.netfast_ok(&["deny", "add", &format!("203.0.113.{n}")]).unwrap();
        assert_eq!(lab.netfast_json(&["status"]).unwrap()["problems"], serde_json::json!([]), "{name}");
        for family in [0, 1] {
            ask(&ways, DIRECT, family, (8_000, 1_400), shuffled).unwrap();
        }
        let others = lab.host.links().unwrap().into_iter().filter(|link| link == "other");
        eventually("nothing is left of the old one", || others.clone().count() == 0);
    }
    lab.down().unwrap();
    assert_eq!(lab.leftovers().unwrap(), NONE);
}
