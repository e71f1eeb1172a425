//! Pins that somebody removed while the instance is up: the next change repairs what was removed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails, in its helpers too"
)]

use std::net::SocketAddr;
use std::time::Duration;

use netfast_tests::{
    Conversation, Finished, HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, Running, TcpServer, UdpServer,
    require_root,
};

const SECOND: Duration = Duration::from_secs(1);
const NONE: [String; 0] = [];

/// `web` is reached by `client` alone inside, which only a whole set of maps knows.
const MANIFEST: &str = "
networks: {lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}}
endpoints:
  web: {labels: {app: web}, publish: ['8080:80', '5353:53/udp']}
  client: {labels: {role: client}}
  stranger: {}
policies: [policy.yaml]
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}, {ipBlock: {cidr: 192.0.2.2/32}}, {ipBlock: {cidr: '2001:db8:99::2/128'}}]}]
";

struct Host {
    lab: Lab,
    file: String,
    attach: &'static str,
    client: Ns,
    stranger: Ns,
    web: [SocketAddr; 2],
    _servers: (Vec<TcpServer>, Vec<UdpServer>),
}

impl Host {
    fn new(attach: &'static str) -> Self {
        let lab = Lab::new().unwrap();
        lab.file("policy.yaml", POLICY).unwrap();
        let file = lab.file("netfast.yaml", MANIFEST).unwrap();
        let mut command = lab.command(&["up", "-d", "-f", &file]);
        let done =
            Running::start(command.env("NETFAST_ATTACH", attach)).unwrap().finish(20 * SECOND).unwrap();
        assert!(done.success(), "{done:?}");
        let [web, client, stranger] =
            ["web", "client", "stranger"].map(|name| lab.endpoint_ns(name).unwrap());
        let addresses = lab.addresses("web").unwrap();
        let tcp = [&web, &lab.outside].map(|ns| ns.tcp_serve("[::]:80").unwrap());
        let udp = addresses.map(|ip| web.udp_serve(&SocketAddr::new(ip, 53).to_string()).unwrap());
        let web = addresses.map(|ip| SocketAddr::new(ip, 80));
        Self { lab, file, attach, client, stranger, web, _servers: (tcp.into(), udp.into()) }
    }

    fn run(&self, args: &[&str]) -> Finished {
        let mut command = self.lab.command(args);
        Running::start(command.env("NETFAST_ATTACH", self.attach)).unwrap().finish(20 * SECOND).unwrap()
    }

    /// A change that has nothing to do with the pins. Returns what it warned of.
    fn repair(&self) -> String {
        let done = self.run(&["up", "-d", "-f", &self.file]);
        assert!(done.success(), "{done:?}");
        done.stderr
    }

    /// Runs a shell command among the pins.
    fn sh(&self, script: &str) -> String {
        let script = format!("cd {}/bpffs && {script}", self.lab.dir().display());
        let done = self.lab.host.finish("sh", &["-c", &script], 5 * SECOND).unwrap();
        assert!(done.success(), "{script}: {}", done.stderr);
        done.stdout
    }

    /// Connections over every path that have passed packets.
    fn connect(&self) -> Vec<Conversation> {
        let connect = |ns: &Ns, to: String| {
            let mut open = ns.tcp_connect(&to, 5 * SECOND).expect(&to);
            open.ask().unwrap();
            open
        };
        let mut all = Vec::new();
        let places = [(HOST_V4, OUTSIDE_V4, "127.0.0.1"), (HOST_V6, OUTSIDE_V6, "::1")];
        for ((host, outside, loopback), web) in places.into_iter().zip(self.web) {
            let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port).to_string();
            all.push(connect(&self.client, web.to_string()));
            all.push(connect(&self.client, at(outside, 80)));
            all.push(connect(&self.lab.outside, at(host, 8080)));
            all.push(connect(&self.lab.host, at(loopback, 8080)));
        }
        all
    }

    /// Everything works, and everything is in its place.
    fn check(&self) {
        drop(self.connect());
        self.client.udp_ask(&SocketAddr::new(self.web[0].ip(), 53).to_string(), SECOND).unwrap();
        self.lab.host.udp_ask("127.0.0.1:5353", SECOND).unwrap();
        self.lab.outside.udp_ask(&format!("[{HOST_V6}]:5353"), SECOND).unwrap();
        for address in self.web {
            assert!(self.stranger.tcp_ask(&address.to_string(), SECOND / 5).is_err());
        }
        let status = self.lab.netfast_json(&["status"]).unwrap();
        assert_eq!(status["object"]["is_own"], true);
        assert!(status["endpoints"].as_array().unwrap().iter().all(|endpoint| endpoint["ready"] == true));
        let links = status["links"].as_array().unwrap();
        // Two hooks of three endpoints, the uplink, the sockets.
        assert!(links.len() >= 3 * 2 + 1 + 8, "{links:#?}");
        assert!(links.iter().all(|link| link["alive"] == true), "{links:#?}");
    }
}

/// Sees that connections still pass packets.
fn ask(open: &mut [Conversation]) {
    for open in open {
        open.ask().unwrap();
    }
}

fn removed_pins_are_repaired(attach: &'static str) {
    let host = Host::new(attach);
    let pins = host.sh("ls v1/maps v1/programs-*");
    let mut open = host.connect();
    for removed in [
        "v1/programs-*/from_endpoint",
        "v1/programs-*",
        "v1/maps/NF_FLOW",
        "v1/maps/NF_CONFIG v1/maps/NF_SOCKET v1/maps/NF_PUBLISH_0",
        "v1/maps/*",
        "v1/maps v1/programs-*",
    ] {
        host.sh(&format!("rm -r {removed}"));
        // Nothing is interrupted by the removal, nor by the repair.
        ask(&mut open);
        if removed.contains("maps") {
            let done = host.run(&["status"]);
            assert!(!done.success() && done.stderr.contains("(the next change repairs that"), "{done:?}");
        }
        let told = host.repair();
        assert_eq!(told.contains("pinned again"), removed.contains("maps"), "{removed}: {told}");
        assert!(!told.contains("connections"), "{removed}: {told}");
        ask(&mut open);
        assert_eq!(host.sh("ls v1/maps v1/programs-*"), pins);
        host.check();
    }
    // The programs are in force by their links alone; or the links are gone and the rest is there.
    host.sh("rm -r v1/links");
    host.repair();
    host.check();
    ask(&mut open);
    host.lab.down().unwrap();
    assert_eq!(host.lab.leftovers().unwrap(), NONE);
}

#[test]
fn removed_pins_are_repaired_with_no_flow_lost() {
    require_root!();
    removed_pins_are_repaired("auto");
}

#[test]
fn removed_pins_are_repaired_with_clsact() {
    require_root!();
    removed_pins_are_repaired("clsact");
}

fn everything_removed(attach: &'static str) {
    let host = Host::new(attach);
    for removal in ["rm -r v1", "rm -r v1/maps v1/programs-* v1/links", "cd / && umount $OLDPWD"] {
        host.check();
        host.sh(removal);
        let told = host.repair();
        assert!(told.contains("made anew, and connections that were open may break"), "{removal}: {told}");
        host.check();
        assert!(host.repair().is_empty());
    }
    host.lab.down().unwrap();
    assert_eq!(host.lab.leftovers().unwrap(), NONE);
}

#[test]
fn all_pins_or_their_file_system_removed() {
    require_root!();
    everything_removed("auto");
}

#[test]
fn all_pins_or_their_file_system_removed_with_clsact() {
    require_root!();
    everything_removed("clsact");
}
