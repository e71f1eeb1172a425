//! Ports that are free, and whoever has one.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::libc::{IPPROTO_TCP, IPPROTO_UDP};
use socket2::{Domain, Socket, Type};

use super::super::{Netlink, Netns};
use super::{namespace, need_root};

const PORT: u16 = 8080;

fn is_free(netns: &Netns, protocol: i32) -> bool {
    netns.are_free(&[(protocol.try_into().unwrap(), PORT)]).unwrap()
}

#[test]
fn a_port_that_anybody_has_is_not_free() {
    need_root!();
    let netns = namespace();
    netns
        .run(|| {
            let netlink = Netlink::open(&netns).unwrap();
            netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
            let both = || (is_free(&netns, IPPROTO_TCP), is_free(&netns, IPPROTO_UDP));
            // And it is given back.
            assert_eq!([both(), both()], [(true, true); 2]);
            for address in ["0.0.0.0", "127.0.0.1", "[::]", "[::1]"] {
                let address: SocketAddr = format!("{address}:{PORT}").parse().unwrap();
                let listening = TcpListener::bind(address).unwrap();
                assert_eq!(both(), (false, true), "{address}");
                drop(listening);
                let waiting = UdpSocket::bind(address).unwrap();
                assert_eq!(both(), (true, false), "{address}");
                drop(waiting);
                // About to listen, and no less so if it would share the port.
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
                socket
                    .set_only_v6(true)
                    .or_else(|e| if address.is_ipv4() { Ok(()) } else { Err(e) })
                    .unwrap();
                socket.set_reuse_address(true).unwrap();
                socket.set_reuse_port(true).unwrap();
                socket.bind(&address.into()).unwrap();
                assert_eq!(both(), (false, true), "{address}");
                drop(socket);
                assert_eq!(both(), (true, true), "{address}");
            }
            let listening = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
            let client = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            let served = listening.accept().unwrap();
            drop((listening, served));
            assert!(!is_free(&netns, IPPROTO_TCP), "a connection has it");
            drop(client);
            assert!(!is_free(&netns, IPPROTO_TCP), "a connection lingers");
            assert!(!is_free(&netns, 132), "nothing is known of SCTP");
        })
        .unwrap();
    // Who asks need not be there.
    assert!(is_free(&namespace(), IPPROTO_TCP));
}
