//! Small changes of big worlds, in real maps: what they write, and how long they take.
//!
//! `NETFAST_TEST_ALL=1 cargo test --release -p netfast scale_tests -- --nocapture` prints the numbers of the full world.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netfast_common::addr::Addr;

use super::tables::{Settings, add, commit, differing, remove_rules, replace_subject};
use crate::compile::policy::{self, Assigned, Book, Family, Member, Numbers, Roll, Side};
use crate::compile::rows::{PlacedEndpoint, PlacedLink, PlacedNetwork, rows};
use crate::kernel::testing::{cpu_time, loaded};
use crate::kernel::{Maps, Programs, grace_period};
use crate::model::{
    Endpoint, EndpointId, Labels, Name, NamedPort, Network, Operator, Peer, Policy, PortMatch, PortRange,
    Ports, Protocol, Requirement, Rule, Selector, Source, World,
};
use crate::store::{Instance, NetnsId};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn having(key: &str, value: String) -> Selector {
    let operator = Operator::In([value].into());
    Selector { requirements: vec![Requirement { key: key.to_owned(), operator }] }
}

fn endpoint(namespace: usize, number: usize) -> Endpoint {
    let id = EndpointId { namespace: name(&format!("n{namespace}")), name: name(&format!("e{number}")) };
    let port = if number.is_multiple_of(2) { 80 } else { 8080 };
    Endpoint {
        labels: labels(&[("app", format!("a{}", number % 5)), ("pod", format!("n{namespace}-e{number}"))]),
        ports: vec![NamedPort { name: Some("http".to_owned()), port, protocol: Protocol::Tcp }],
        ..Endpoint::new(id, name("net"))
    }
}

/// 20 endpoints of 5 workloads and 10 policies in each namespace; a policy has 10 rules in each direction.
fn world(namespaces: usize) -> World {
    let network = Network {
        subnet: Some("10.0.0.0/8".parse().unwrap()),
        subnet6: Some("fd00::/64".parse().unwrap()),
        ..Network::new(name("net"))
    };
    let mut world = World { networks: [(name("net"), network)].into(), ..World::default() };
    for n in 0..namespaces {
        for endpoint in (0..20).map(|e| endpoint(n, e)) {
            world.endpoints.insert(endpoint.id.clone(), endpoint);
        }
        for p in 0..10 {
            let rules = || Some((0..10).map(|r| rule(namespaces, n, p, r)).collect());
            world.policies.push(Policy {
                namespace: name(&format!("n{n}")),
                name: name(&format!("p{p}")),
                source: Source::default(),
                selector: having("app", format!("a{}", p % 5)),
                ingress: rules(),
                egress: rules(),
                audit: false,
            });
        }
    }
    world
}

fn rule(namespaces: usize, n: usize, p: usize, r: usize) -> Rule {
    let app = having("app", format!("a{}", (p + r) % 5));
    let port = u16::try_from(1000 * (r + 1) + p).unwrap();
    let tcp =
        |first, last| PortMatch { protocol: Protocol::Tcp, ports: Ports::Range(PortRange { first, last }) };
    let pods = |namespaces, endpoints| Peer::Endpoints { namespaces, endpoints };
    let (peer, ports) = match r {
        2 => {
            let cidr = format!("198.51.{}.{p}/32", n % 256).parse().unwrap();
            (Peer::Block { cidr, except: Vec::new() }, tcp(port, port + 99))
        }
        3 | 6 | 9 => {
            let other = having("kubernetes.io/metadata.name", format!("n{}", (n + r) % namespaces));
            let http = PortMatch { protocol: Protocol::Tcp, ports: Ports::Named("http".to_owned()) };
            (pods(Some(other), app), http)
        }
        _ => (pods(None, app), tcp(port, port)),
    };
    Rule { source: Source::default(), peers: Some(vec![peer]), ports: Some(vec![ports]) }
}

/// A world whose endpoints have rows but no devices.
struct Scene {
    world: World,
    numbers: Numbers,
    slots: BTreeMap<EndpointId, u32>,
}

/// What a change of one endpoint goes by.
struct Small {
    /// As it is kept.
    book: Vec<u8>,
    roll: Roll,
}

/// What a change took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    compile: Duration,
    rows: Duration,
    commit: Duration,
    /// Of all that, what this thread has computed.
    cpu: Duration,
    /// Rows of the maps that were written or removed.
    written: usize,
}

impl Took {
    fn total(&self) -> Duration {
        self.compile + self.rows + self.commit
    }
}

impl Scene {
    fn new(namespaces: usize) -> Self {
        Self { world: world(namespaces), numbers: Numbers::default(), slots: BTreeMap::new() }
    }

    fn assigned(&mut self) -> BTreeMap<EndpointId, Assigned> {
        for id in self.world.endpoints.keys() {
            let next = u32::try_from(self.slots.len()).unwrap();
            self.slots.entry(id.clone()).or_insert(next);
        }
        self.world.endpoints.keys().map(|id| (id.clone(), self.assigned_to(id))).collect()
    }

    /// Makes the maps hold it.
    fn load(&mut self, maps: &mut Maps) -> Took {
        let assigned = self.assigned();
        let (start, cpu) = (Instant::now(), cpu_time());
        let tables = policy::compile(&self.world, &assigned, &self.numbers, 1_000_000).unwrap();
        let compile = start.elapsed();
        let start = Instant::now();
        let network =
            PlacedNetwork { network: &self.world.networks[&name("net")], id: 1, mac: [2; 6], ifindex: None };
        let endpoints: Vec<_> = self.placed(&assigned, &network);
        let rows = rows([&network].into_iter(), &endpoints, &[], &[].into(), &[].into(), &tables);
        let made = start.elapsed();
        let start = Instant::now();
        let instance = Instance::new(NetnsId { cookie: 1, dev: 0, ino: 0 }).unwrap();
        let settings = Settings::of(&self.world, &instance);
        let written = commit(maps, &rows, &settings).unwrap().rows;
        let (commit, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
        assert_eq!(differing(maps, &rows, &settings).unwrap(), [""; 0]);
        self.numbers = tables.numbers;
        Took { compile, rows: made, commit, cpu, written }
    }

    /// Makes the maps hold a world in which only one endpoint is other than before, in small. `false`: that will not do.
    fn load_one(
        &mut self,
        maps: &mut Maps,
        small: &mut Small,
        before: Option<&Endpoint>,
        id: &EndpointId,
    ) -> Option<Took> {
        let assigned = self.assigned();
        let of = assigned.get(id).cloned().unwrap_or_else(|| self.assigned_to(id));
        let after = self.world.endpoints.get(id);
        let member = |endpoint| Member { endpoint, assigned: of.clone() };
        let (start, cpu) = (Instant::now(), cpu_time());
        let bytes = postcard::to_stdvec(&small.roll).unwrap();
        let book: Book<'_> = postcard::from_bytes(&small.book).unwrap();
        let mut roll: Roll = postcard::from_bytes(&bytes).unwrap();
        let change = book.change(&mut roll, before.map(member), after.map(member))?;
        let compile = start.elapsed();
        let start = Instant::now();
        let mut written = change.added.len() + 1;
        match (before, change.subject) {
            (Some(_), Some(subject)) => {
                replace_subject(maps, self.slots[id], subject, &change.added).unwrap();
                written += change.removed.len();
                grace_period(Programs::OfPackets);
                remove_rules(maps, &change.removed).unwrap();
            }
            (None, Some(subject)) => {
                let network = PlacedNetwork {
                    network: &self.world.networks[&name("net")],
                    id: 1,
                    mac: [2; 6],
                    ifindex: None,
                };
                let placed: Vec<_> =
                    self.placed(&assigned, &network).into_iter().filter(|placed| placed.id == id).collect();
                let subjects = [(id.clone(), subject)].into();
                let tables = policy::Tables { subjects, rules: change.added, ..policy::Tables::default() };
                let rows = rows([&network].into_iter(), &placed, &[], &[].into(), &[].into(), &tables);
                add(maps, &rows).unwrap();
            }
            _ => {
                let slot = self.slots[id];
                let Assigned { ip, ip6, .. } = of;
                maps.addresses.remove(&Addr::from(ip.unwrap())).unwrap();
                maps.addresses.remove(&Addr::from(ip6.unwrap())).unwrap();
                maps.endpoints.remove(&(1000 + slot)).unwrap();
                written += change.removed.len();
                remove_rules(maps, &change.removed).unwrap();
            }
        }
        let (commit, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
        roll.clone().update(&mut self.numbers);
        small.roll = roll;
        Some(Took { compile, rows: Duration::ZERO, commit, cpu, written })
    }

    fn assigned_to(&self, id: &EndpointId) -> Assigned {
        let slot = self.slots[id];
        Assigned {
            ip: Some(Ipv4Addr::from(0x0a00_0002 + slot)),
            ip6: Some(Ipv6Addr::from((0xfd << 120) | u128::from(slot + 2))),
            more: Vec::new(),
        }
    }

    /// What it takes to change one endpoint after the other from here on.
    fn small(&mut self) -> Small {
        let assigned = self.assigned();
        let compiled = policy::compile_to_change(&self.world, &assigned, &self.numbers, 1_000_000).unwrap();
        let (book, roll) = compiled.1.unwrap();
        self.numbers = compiled.0.numbers;
        Small { book: postcard::to_stdvec(&book).unwrap(), roll }
    }

    /// That the maps hold what a compile of the whole world makes.
    fn assert_is_whole(&mut self, maps: &Maps) {
        let assigned = self.assigned();
        let tables = policy::compile(&self.world, &assigned, &self.numbers, 1_000_000).unwrap();
        let network =
            PlacedNetwork { network: &self.world.networks[&name("net")], id: 1, mac: [2; 6], ifindex: None };
        let endpoints: Vec<_> = self.placed(&assigned, &network);
        let rows = rows([&network].into_iter(), &endpoints, &[], &[].into(), &[].into(), &tables);
        let instance = Instance::new(NetnsId { cookie: 1, dev: 0, ino: 0 }).unwrap();
        let settings = Settings::of(&self.world, &instance);
        assert_eq!(differing(maps, &rows, &settings).unwrap(), [""; 0]);
    }

    fn placed<'a>(
        &'a self,
        assigned: &BTreeMap<EndpointId, Assigned>,
        network: &'a PlacedNetwork<'a>,
    ) -> Vec<PlacedEndpoint<'a>> {
        let place = |endpoint: &'a Endpoint| {
            let slot = self.slots[&endpoint.id];
            let Assigned { ip, ip6, .. } = assigned[&endpoint.id];
            let [_, b, c, d] = slot.to_be_bytes();
            PlacedEndpoint {
                id: &endpoint.id,
                network,
                incarnation: slot + 1,
                slot,
                ifindex: 1000 + slot,
                ip,
                ip6,
                more: &[],
                mac: [2, 0, 0, b, c, d],
                source_check: true,
                redirect: true,
                held: false,
                link: PlacedLink::Port,
                publish: Vec::new(),
            }
        };
        self.world.endpoints.values().map(place).collect()
    }

    fn endpoint(&mut self, number: usize) -> &mut Endpoint {
        let count = self.world.endpoints.len();
        self.world.endpoints.values_mut().nth(number * 7919 % count).unwrap()
    }
}

fn percentile(times: &mut [Duration], of_hundred: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * of_hundred / 100).min(times.len() - 1)]
}

fn tell(what: &str, times: &[Took]) {
    let mut totals: Vec<_> = times.iter().map(Took::total).collect();
    let mut computed: Vec<_> = times.iter().map(|took| took.cpu).collect();
    let mean = |part: fn(&Took) -> Duration| {
        times.iter().map(part).sum::<Duration>() / u32::try_from(times.len()).unwrap()
    };
    let written: Vec<_> = times.iter().map(|took| took.written).collect();
    println!(
        "{what}: p50 {:?}, p99 {:?}; of CPU time {:?}, {:?}; mean: compile {:?}, rows {:?}, maps {:?}; {}, at most {} rows written",
        percentile(&mut totals, 50),
        percentile(&mut totals, 99),
        percentile(&mut computed, 50),
        percentile(&mut computed, 99),
        mean(|t| t.compile),
        mean(|t| t.rows),
        mean(|t| t.commit),
        written.iter().sum::<usize>() / written.len(),
        written.iter().max().unwrap(),
    );
}

#[test]
fn small_changes_of_a_big_world() {
    loaded(|_, mut datapath| {
        let is_full = std::env::var_os("NETFAST_TEST_ALL").is_some();
        let namespaces = if is_full { 50 } else { 10 };
        let steps = if is_full { 100 } else { 10 };
        let mut scene = Scene::new(namespaces);
        let maps = &mut datapath.maps;
        let all = scene.load(maps);
        println!("all: {all:?} in {:?}", all.total());
        assert_eq!(scene.load(maps).written, 0);
        let relabelled: Vec<_> = (0..steps)
            .map(|step| {
                scene.endpoint(step).labels.insert("app".to_owned(), format!("a{}", step % 6));
                scene.load(maps)
            })
            .collect();
        tell("a label changed", &relabelled);
        let added: Vec<_> = (0..steps)
            .map(|step| {
                let new = endpoint(step % namespaces, 100 + step);
                scene.world.endpoints.insert(new.id.clone(), new);
                scene.load(maps)
            })
            .collect();
        tell("an endpoint added", &added);
        // Whoever is of a new class, or the last of one, is a row in each set that lets it in; and what the change before
        // wrote in one version is written in the other.
        assert!(
            relabelled.iter().chain(&added).all(|took| took.written < all.written / 10),
            "{relabelled:?} {added:?}"
        );
        // Many times what it takes, as other tests run beside it.
        let bound = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 2 });
        assert!([all].iter().chain(&relabelled).chain(&added).all(|took| took.total() < bound));
        let mut graces: Vec<_> = (0..20)
            .map(|_| {
                let start = Instant::now();
                grace_period(Programs::OfPackets);
                start.elapsed()
            })
            .collect();
        println!(
            "a grace period: p50 {:?}, p99 {:?}",
            percentile(&mut graces, 50),
            percentile(&mut graces, 99)
        );
        for usage in datapath.usage().unwrap() {
            println!("{} {:?} of {}: {} KiB", usage.name, usage.used, usage.size, usage.bytes / 1024);
        }
    });
}

#[test]
fn small_changes_lead_where_a_fresh_start_does() {
    loaded(|_, mut datapath| {
        let maps = &mut datapath.maps;
        let mut scene = Scene::new(3);
        scene.load(maps);
        let mut random = 7_usize;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut removed = Vec::new();
        for step in 0..60 {
            let number = below(1000);
            match below(5) {
                0 | 1 => {
                    let value = format!("a{}", below(7));
                    scene.endpoint(number).labels.insert("app".to_owned(), value);
                }
                2 => {
                    let new = endpoint(below(4), 100 + step);
                    scene.world.endpoints.insert(new.id.clone(), new);
                }
                3 => {
                    let id = scene.endpoint(number).id.clone();
                    scene.world.endpoints.remove(&id);
                }
                _ if removed.is_empty() || below(2) == 0 => {
                    let policy = below(scene.world.policies.len());
                    removed.push(scene.world.policies.remove(policy));
                }
                _ => scene.world.policies.push(removed.pop().unwrap()),
            }
            // The maps hold what was compiled.
            scene.load(maps);
            let assigned = scene.assigned();
            let compile = |numbers| policy::compile(&scene.world, &assigned, numbers, 1_000_000).unwrap();
            let (now, fresh) = (compile(&scene.numbers), compile(&Numbers::default()));
            assert_eq!((now.rules.len(), &now.isolating), (fresh.rules.len(), &fresh.isolating));
            let ids: Vec<_> = scene.world.endpoints.keys().collect();
            for _ in 0..200 {
                let side = |id: usize| Side::Endpoint(ids[id].clone(), Family::V4);
                let (from, to) = (side(below(ids.len())), side(below(ids.len())));
                let port = [80, 8080, 1000, 2001, 3050, 5004][below(6)];
                let verdict = |tables: &policy::Tables| tables.verdict(&from, &to, 6, port).unwrap().allowed;
                assert_eq!(verdict(&now), verdict(&fresh), "{from:?} to {to:?}:{port}");
            }
        }
    });
}

#[test]
fn one_endpoint_of_a_big_world() {
    loaded(|_, mut datapath| {
        let is_full = std::env::var_os("NETFAST_TEST_ALL").is_some();
        let namespaces = if is_full { 50 } else { 10 };
        let steps = if is_full { 200 } else { 10 };
        let mut scene = Scene::new(namespaces);
        let maps = &mut datapath.maps;
        scene.load(maps);
        let mut small = scene.small();
        println!(
            "book: {} bytes, roll: {}",
            small.book.len(),
            postcard::to_stdvec(&small.roll).unwrap().len()
        );
        let (mut relabelled, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..steps {
            let endpoint_before = scene.endpoint(step).clone();
            let id = endpoint_before.id.clone();
            scene.endpoint(step).labels.insert("app".to_owned(), format!("a{}", step % 5));
            relabelled.extend(scene.load_one(maps, &mut small, Some(&endpoint_before), &id));
            let new = endpoint(step % namespaces, 100 + step);
            let id = new.id.clone();
            scene.world.endpoints.insert(id.clone(), new.clone());
            added.extend(scene.load_one(maps, &mut small, None, &id));
            if step % 10 == 9 {
                scene.assert_is_whole(maps);
            }
            scene.world.endpoints.remove(&id);
            removed.extend(scene.load_one(maps, &mut small, Some(&new), &id));
        }
        scene.assert_is_whole(maps);
        tell("a label changed, in small", &relabelled);
        tell("an endpoint added, in small", &added);
        tell("an endpoint removed, in small", &removed);
        assert!(relabelled.len() + added.len() + removed.len() > 2 * steps, "most can be done in small");
    });
}

#[test]
fn one_endpoint_after_the_other_leads_where_a_fresh_start_does() {
    loaded(|_, mut datapath| {
        let maps = &mut datapath.maps;
        let mut scene = Scene::new(3);
        scene.load(maps);
        let mut small = scene.small();
        let mut random = 11_usize;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut in_small = 0;
        for step in 0..150 {
            let number = below(1000);
            let before = scene.endpoint(number).clone();
            let (before, id) = match below(4) {
                0 | 1 => {
                    let value = format!("a{}", below(7));
                    scene.endpoint(number).labels.insert("app".to_owned(), value);
                    (Some(before.clone()), before.id)
                }
                2 => {
                    let new = endpoint(below(4), 100 + step);
                    scene.world.endpoints.insert(new.id.clone(), new.clone());
                    (None, new.id)
                }
                _ => {
                    scene.world.endpoints.remove(&before.id);
                    (Some(before.clone()), before.id)
                }
            };
            if scene.load_one(maps, &mut small, before.as_ref(), &id).is_some() {
                in_small += 1;
            } else {
                scene.load(maps);
                small = scene.small();
            }
            // The maps hold what a compile of everything makes, given the numbers; so does the next change of everything.
            scene.assert_is_whole(maps);
            let assigned = scene.assigned();
            let compile = |numbers| policy::compile(&scene.world, &assigned, numbers, 1_000_000).unwrap();
            let (now, fresh) = (compile(&scene.numbers), compile(&Numbers::default()));
            assert_eq!((now.rules.len(), &now.isolating), (fresh.rules.len(), &fresh.isolating));
            let ids: Vec<_> = scene.world.endpoints.keys().collect();
            for _ in 0..50 {
                let side = |id: usize| Side::Endpoint(ids[id].clone(), Family::V4);
                let (from, to) = (side(below(ids.len())), side(below(ids.len())));
                let port = [80, 8080, 1000, 2001, 3050, 5004][below(6)];
                let verdict = |tables: &policy::Tables| tables.verdict(&from, &to, 6, port).unwrap().allowed;
                assert_eq!(verdict(&now), verdict(&fresh), "{from:?} to {to:?}:{port}");
            }
        }
        assert!(in_small > 75, "{in_small}");
        scene.load(maps);
    });
}
