//! The name servers an endpoint gets: the host's, but none that only the host itself can reach.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Where the servers behind a stub on a loopback address are told, in the order of preference.
const UPSTREAM: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

/// Makes an endpoint's `resolv.conf` from the host's files. A host without any gets a file that says so.
pub fn read_resolv_conf() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let upstream = UPSTREAM.map(read);
    resolv_conf(&read("/etc/resolv.conf"), &upstream.each_ref().map(String::as_str))
}

/// Makes an endpoint's `resolv.conf`: search list and options are the host's; name servers on loopback addresses are
/// replaced by those of the first of the `upstream` files that has others.
pub fn resolv_conf(host: &str, upstream: &[&str]) -> String {
    let mut settings = Vec::new();
    let mut servers: Vec<&str> = Vec::new();
    let mut add = |server| {
        if !servers.contains(&server) {
            servers.push(server);
        }
    };
    let mut replaced = false;
    for line in host.lines().map(str::trim) {
        match line.split_ascii_whitespace().next() {
            Some("nameserver") => match name_server(line) {
                Some(server) if is_reachable(server) => add(server),
                _ if replaced => {}
                _ => {
                    replaced = true;
                    real_servers(upstream).into_iter().for_each(&mut add);
                }
            },
            Some("search" | "domain" | "options" | "sortlist") => settings.push(line),
            _ => {}
        }
    }
    let mut text = String::new();
    if servers.is_empty() {
        text.push_str("# netfast: the host has no name server that can be reached from here\n");
    }
    for server in servers {
        text.push_str("nameserver ");
        text.push_str(server);
        text.push('\n');
    }
    for line in settings {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The servers of the first file that has any beyond the host.
fn real_servers<'a>(files: &[&'a str]) -> Vec<&'a str> {
    let servers_of = |file: &&'a str| -> Vec<&'a str> {
        file.lines().filter_map(|line| name_server(line.trim())).filter(|s| is_reachable(s)).collect()
    };
    files.iter().map(servers_of).find(|servers| !servers.is_empty()).unwrap_or_default()
}

/// The address of a `nameserver` line, the keyword at its start.
fn name_server(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "nameserver")?;
    words.next()
}

/// Whether an address can mean the same in another namespace. Loopback ones cannot; nor can the unspecified ones, which
/// the C library takes for loopback, nor link-local ones with the name of the host's device (`fe80::1%eth0`), which do
/// not even parse.
fn is_reachable(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|ip| {
        let ip = ip.to_canonical();
        !ip.is_loopback() && !ip.is_unspecified()
    })
}

/// Writes [`read_resolv_conf`] to a file, in place.
pub fn write_resolv_conf(path: &Path) -> io::Result<()> {
    super::hosts::rewrite_in_place(path, &read_resolv_conf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_reaches_is_kept() {
        let host = "# made by hand\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.test b.test\noptions ndots:2\n";
        let wanted =
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.test b.test\noptions ndots:2\n";
        assert_eq!(resolv_conf(host, &["nameserver 192.0.2.99\n"]), wanted);
    }

    #[test]
    fn a_stub_is_replaced_by_the_servers_behind_it() {
        let host = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let resolved =
            "# comment\nnameserver 127.0.0.1\n  nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch other\n";
        let wanted = "nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions edns0 trust-ad\nsearch lan\n";
        assert_eq!(resolv_conf(host, &[resolved, "nameserver 192.0.2.3\n"]), wanted);
        // Nothing usable in the first file: the next one.
        assert_eq!(
            resolv_conf("nameserver ::1", &["nameserver ::1\n", "nameserver 192.0.2.3\n"]),
            "nameserver 192.0.2.3\n"
        );
    }

    #[test]
    fn replaced_servers_come_once_and_in_place() {
        let host = "nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\n";
        let wanted = "nameserver 192.0.2.1\nnameserver 192.0.2.2\n";
        assert_eq!(resolv_conf(host, &["nameserver 192.0.2.1\nnameserver 192.0.2.2\n"]), wanted);
    }

    #[test]
    fn no_server_at_all_is_said() {
        for host in [
            "",
            "nameserver 127.0.0.53\n",
            "nameserver 0.0.0.0\n",
            "nameserver\n",
            "nameserver ::ffff:127.0.0.1\n",
        ] {
            let text = resolv_conf(host, &[]);
            assert!(text.starts_with("# netfast:") && !text.contains("\nnameserver"), "{host:?}: {text:?}");
        }
    }
}
