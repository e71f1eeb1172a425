//! What is measured: tests, each of them the same work done on several variants.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::peers::Peer;
use super::workloads::Workload;

/// How much a peer holds besides what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Scale {
    /// Published ports. The one in the middle is used.
    pub ports: u16,
    /// Rules of policies.
    pub rules: u16,
}

impl Scale {
    /// One port, and no more rules than are needed.
    pub const ONE: Self = Self { ports: 1, rules: 1 };

    /// So many published ports.
    pub const fn ports(ports: u16) -> Self {
        Self { ports, rules: 1 }
    }

    /// So many rules of policies.
    pub const fn rules(rules: u16) -> Self {
        Self { ports: 1, rules }
    }
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From one container to another.
    Between,
    /// From outside to a published port of the host.
    Published,
    /// From a container to the world outside, with the host's address.
    Outward,
    /// From a process of the host to a container's own address.
    HostToContainer,
    /// From a process of the host to a published port at 127.0.0.1.
    Localhost,
    /// From a container to a published port at the host's address.
    Hairpin,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Between => "container to container",
            Self::Published => "outside to published port",
            Self::Outward => "container to outside",
            Self::HostToContainer => "host to container",
            Self::Localhost => "host to 127.0.0.1:published",
            Self::Hairpin => "container to host's address:published",
        })
    }
}

/// On what something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Variant {
    /// Whose work it is.
    pub peer: Peer,
    /// How much it holds.
    #[serde(flatten)]
    pub scale: Scale,
    /// From where to where.
    pub way: Way,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Traffic.
    Traffic(Workload),
    /// Dropping what comes from a denied source.
    Drop,
    /// Adding a container with a published port.
    AddContainer,
    /// Publishing all ports of the scale.
    Publish,
}

/// Something to measure on several variants, of which the first is what the others are compared to.
#[derive(Clone, Debug, Serialize)]
pub struct Test {
    /// What it is called by programs.
    pub id: String,
    /// What it is called by people.
    pub title: String,
    /// What is done.
    pub work: Work,
    /// On what.
    pub variants: Vec<Variant>,
}

/// How thoroughly is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All there is.
    Full,
    /// The most important things, in a minute.
    Quick,
}

/// What is measured, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tests, in their order.
    pub tests: Vec<Test>,
    /// How often each variant is measured.
    pub rounds: usize,
    /// For how long each time.
    pub slice: Duration,
}

/// Who moves packets between containers as the kernel alone can.
const PLAIN: [Peer; 3] = [Peer::Bridge, Peer::BridgeFiltered, Peer::Direct];
/// Who also publishes and masquerades.
const ROUTERS: [Peer; 4] = [Peer::IptablesNft, Peer::IptablesLegacy, Peer::NftMaps, Peer::Netfast];
/// Who does all of that behind a daemon or a command of its own.
const RUNTIMES: [Peer; 3] = [Peer::Dockerd, Peer::PodmanCni, Peer::PodmanNetavark];
/// How many ports and rules a curve is made of.
const STEPS: [u16; 4] = [1, 100, 1_000, 10_000];

impl Settings {
    /// What is measured if nobody says otherwise.
    pub fn new(depth: Depth) -> Self {
        match depth {
            Depth::Full => Self { tests: full(), rounds: 15, slice: Duration::from_millis(300) },
            Depth::Quick => Self { tests: quick(), rounds: 5, slice: Duration::from_millis(100) },
        }
    }

    /// Adds containers of real runtimes to every test of traffic whose peers are all of one size.
    pub fn add_runtimes(&mut self) {
        for test in &mut self.tests {
            let Some(last) = test.variants.last().copied() else { continue };
            let is_of_one_size = test.variants.iter().all(|variant| variant.scale == Scale::ONE);
            if matches!(test.work, Work::Traffic(_)) && is_of_one_size {
                test.variants.extend(RUNTIMES.map(|peer| Variant { peer, ..last }));
            }
        }
    }

    /// Leaves out tests whose id holds none of `wanted`, and the peers that are not named.
    pub fn narrow(&mut self, wanted: &[String], peers: &[Peer]) {
        for test in &mut self.tests {
            test.variants.retain(|variant| peers.is_empty() || peers.contains(&variant.peer));
        }
        self.tests.retain(|test| {
            let is_wanted = wanted.is_empty() || wanted.iter().any(|part| test.id.contains(part.as_str()));
            is_wanted && !test.variants.is_empty()
        });
    }

    /// Measurements there are to be.
    pub fn slices(&self) -> usize {
        self.tests.iter().map(|test| test.variants.len() * self.rounds).sum()
    }
}

fn full() -> Vec<Test> {
    use Workload::{TcpCrr, TcpRr, TcpStream, UdpRr, UdpStream};
    let mut tests = Vec::new();
    for workload in [TcpRr, TcpCrr, UdpRr, TcpStream, UdpStream] {
        tests.push(traffic(workload, Way::Between, &[&PLAIN[..], &ROUTERS].concat()));
    }
    for way in [Way::Published, Way::Outward] {
        for workload in [TcpRr, TcpCrr, UdpRr, TcpStream] {
            tests.push(traffic(workload, way, &ROUTERS));
        }
    }
    for (way, own) in [(Way::Localhost, Way::HostToContainer), (Way::Hairpin, Way::Between)] {
        for workload in [TcpRr, TcpCrr] {
            tests.push(against_itself(workload, way, own));
        }
    }
    for workload in [TcpRr, TcpCrr] {
        tests.push(curve(workload, Way::Published, Scale::ports, &STEPS, &ROUTERS));
        tests.push(curve(workload, Way::Between, Scale::rules, &STEPS, &ROUTERS));
    }
    tests.extend([drops(), add_container(), publish(10_000)]);
    tests
}

fn quick() -> Vec<Test> {
    use Workload::{TcpCrr, TcpRr, TcpStream};
    const FEW: [Peer; 4] = [Peer::Bridge, Peer::IptablesNft, Peer::Direct, Peer::Netfast];
    const TWO: [Peer; 2] = [Peer::IptablesNft, Peer::Netfast];
    vec![
        traffic(TcpRr, Way::Between, &FEW),
        traffic(TcpCrr, Way::Between, &FEW),
        traffic(TcpStream, Way::Between, &FEW),
        traffic(TcpRr, Way::Published, &TWO),
        traffic(TcpCrr, Way::Published, &TWO),
        traffic(TcpCrr, Way::Outward, &TWO),
        against_itself(TcpCrr, Way::Localhost, Way::HostToContainer),
        curve(TcpCrr, Way::Published, Scale::ports, &[1, 10_000], &TWO),
        drops(),
        add_container(),
    ]
}

fn traffic(workload: Workload, way: Way, peers: &[Peer]) -> Test {
    Test {
        id: format!("{}/{}", id_of(way), workload.id()),
        title: format!("{way}: {workload}"),
        work: Work::Traffic(workload),
        variants: peers.iter().map(|peer| Variant { peer: *peer, scale: Scale::ONE, way }).collect(),
    }
}

/// netfast by a detour, compared with its own straight way.
fn against_itself(workload: Workload, way: Way, own: Way) -> Test {
    let of = |way| Variant { peer: Peer::Netfast, scale: Scale::ONE, way };
    Test { variants: vec![of(own), of(way)], ..traffic(workload, way, &[]) }
}

fn curve(workload: Workload, way: Way, scale: fn(u16) -> Scale, steps: &[u16], peers: &[Peer]) -> Test {
    let kind = if scale(2).ports == 2 { "ports" } else { "rules" };
    let of = |peer: &Peer| {
        let peer = *peer;
        steps.iter().map(move |step| Variant { peer, scale: scale(*step), way })
    };
    let noun = if kind == "ports" { "published ports" } else { "rules of policies" };
    Test {
        id: format!("{kind}/{}", workload.id()),
        title: format!("{way}, by {noun}: {workload}"),
        work: Work::Traffic(workload),
        variants: peers.iter().flat_map(of).collect(),
    }
}

fn drops() -> Test {
    const DROPPERS: [Peer; 4] = [Peer::IptablesNft, Peer::IptablesLegacy, Peer::NftMaps, Peer::Netfast];
    other("drop", "dropping a denied source", Work::Drop, Scale::ONE, &DROPPERS)
}

fn add_container() -> Test {
    let title = "adding a container with a published port";
    other("setup/container", title, Work::AddContainer, Scale::ONE, &ROUTERS)
}

fn publish(ports: u16) -> Test {
    let title = format!("publishing {ports} ports");
    other("setup/ports", &title, Work::Publish, Scale::ports(ports), &ROUTERS)
}

fn other(id: &str, title: &str, work: Work, scale: Scale, peers: &[Peer]) -> Test {
    Test {
        id: id.to_owned(),
        title: title.to_owned(),
        work,
        variants: peers.iter().map(|peer| Variant { peer: *peer, scale, way: Way::Published }).collect(),
    }
}

const fn id_of(way: Way) -> &'static str {
    match way {
        Way::Between => "between",
        Way::Published => "published",
        Way::Outward => "outward",
        Way::HostToContainer => "host",
        Way::Localhost => "localhost",
        Way::Hairpin => "hairpin",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tests_have_names_of_their_own() {
        for depth in [Depth::Full, Depth::Quick] {
            let settings = Settings::new(depth);
            let ids: BTreeSet<_> = settings.tests.iter().map(|test| &test.id).collect();
            assert_eq!(ids.len(), settings.tests.len());
        }
    }

    #[test]
    fn the_quick_run_is_part_of_the_full_one() {
        let full = Settings::new(Depth::Full);
        for test in Settings::new(Depth::Quick).tests {
            let same = full.tests.iter().find(|other| other.id == test.id).unwrap();
            assert!(test.variants.iter().all(|variant| same.variants.contains(variant)), "{}", test.id);
        }
    }

    #[test]
    fn runtimes_are_measured_where_it_is_about_traffic() {
        let mut settings = Settings::new(Depth::Full);
        settings.add_runtimes();
        let of = |id: &str| settings.tests.iter().find(|test| test.id == id).unwrap();
        let has = |id| of(id).variants.iter().any(|variant| variant.peer == Peer::Dockerd);
        assert!(has("between/tcp-rr") && has("published/tcp-stream"));
        assert!(!has("drop") && !has("ports/tcp-crr") && !has("setup/container"));
        let last = of("localhost/tcp-rr").variants.last().unwrap();
        assert_eq!((last.peer, last.way), (Peer::PodmanNetavark, Way::Localhost));
    }

    #[test]
    fn a_run_is_narrowed_by_tests_and_peers() {
        let mut settings = Settings::new(Depth::Full);
        settings.narrow(&["between/tcp-rr".to_owned()], &[Peer::Netfast, Peer::Bridge]);
        assert_eq!(settings.slices(), 2 * settings.rounds);
        let peers: Vec<_> = settings.tests[0].variants.iter().map(|variant| variant.peer).collect();
        assert_eq!(peers, [Peer::Bridge, Peer::Netfast]);
    }
}
