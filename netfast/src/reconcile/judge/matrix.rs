//! Everybody to everybody: who reaches whom, and on which ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Judge;
use super::ask::{Families, Found};
use super::end::{End, Who};
use super::explain::number;
use super::service::Service;
use super::view::{CellAnswerView, CellView, MatrixView};
use crate::compile::policy::Direction;
use crate::model::{EndpointId, Peer, PortMatch, Ports, Rule};
use anyhow::Result;

/// What a matrix is of.
#[derive(Clone, Debug, Default)]
pub struct MatrixOptions {
    /// What to ask for; empty: what each receiver declares, else what rules name.
    pub services: Vec<Service>,
    /// Addresses outside; empty: one of each family that no block holds.
    pub outside: Vec<IpAddr>,
    /// The families to ask for.
    pub families: Families,
}

/// Addresses that stand for the world outside: of the blocks for documentation. The first that no rule speaks of is taken.
const OUTSIDE_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1)];
const OUTSIDE_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1)];

/// Of a wide range of published ports, as many are looked at.
const PUBLISHED: u16 = 16;

impl Judge {
    /// Who reaches whom, and on which ports.
    ///
    /// # Errors
    /// When an address outside is an endpoint's or the host's.
    pub fn matrix(&self, options: &MatrixOptions) -> Result<MatrixView> {
        let mut ends: Vec<End> = self.world.endpoints.keys().map(|id| self.endpoint_end(id)).collect();
        ends.push(End { who: Who::Host, v4: None, v6: None });
        ends.extend(self.outsiders(&options.outside)?);
        let mut texts = Texts::default();
        let mut cells = Vec::new();
        for from in &ends {
            for to in ends.iter().filter(|to| from.endpoint().is_some() || to.endpoint().is_some()) {
                let answers = self.cell(from, to, options, &mut texts)?;
                cells.push(CellView { from: from.name(), to: to.name(), answers });
            }
        }
        let families = options.families.list();
        let ends = ends.iter().map(|end| self.end_view(end, families)).collect();
        Ok(MatrixView { ends, cells, texts: texts.list })
    }

    fn outsiders(&self, asked: &[IpAddr]) -> Result<Vec<End>> {
        if asked.is_empty() {
            let is_free = |addr: &IpAddr| self.owner(*addr) == Who::Outside && !self.is_spoken_of(*addr);
            let v4 = OUTSIDE_V4.into_iter().map(IpAddr::V4);
            let v6 = OUTSIDE_V6.into_iter().map(IpAddr::V6);
            let (mut free_v4, mut free_v6) = (v4.filter(is_free), v6.filter(is_free));
            let world = End { who: Who::Outside, v4: free_v4.next(), v6: free_v6.next() };
            return Ok(if world.v4.is_some() || world.v6.is_some() { vec![world] } else { Vec::new() });
        }
        let end = |addr: &IpAddr| {
            let end = self.end(&addr.to_string())?;
            anyhow::ensure!(end.who == Who::Outside, "{addr} is not outside: it is that of {}", end.name());
            Ok(end)
        };
        asked.iter().map(end).collect()
    }

    /// Whether a rule or a network holds an address in a block that is not all of its family.
    fn is_spoken_of(&self, addr: IpAddr) -> bool {
        let policies = self.world.policies.iter();
        let rules = policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten());
        let mut blocks = rules.flat_map(|rule| rule.peers.iter().flatten()).filter_map(|peer| match peer {
            Peer::Block { cidr, except } => Some(std::iter::once(cidr).chain(except)),
            Peer::Endpoints { .. } => None,
        });
        let mut networks = self.world.networks.values();
        blocks.any(|mut nets| nets.any(|net| net.prefix_len() > 0 && net.contains(&addr)))
            || networks.any(|network| network.subnet_of(addr).is_some())
    }

    fn cell(
        &self,
        from: &End,
        to: &End,
        options: &MatrixOptions,
        texts: &mut Texts,
    ) -> Result<Vec<CellAnswerView>> {
        let Ok(families) = self.families(from, to, options.families) else { return Ok(Vec::new()) };
        let ask = |service: &Service| -> Result<Vec<Found>> {
            families.iter().map(|family| self.ask(from, to, service, *family)).collect()
        };
        if options.services.is_empty() && !self.is_let_in_by_port(from, to) {
            let anything = ask(&Service::Anything)?;
            if anything.iter().all(|found| found.answer.allowed) {
                return Ok(merged(&Service::Anything, &anything, texts));
            }
        }
        let mut answers = Vec::new();
        for service in self.services(from, to, &options.services) {
            answers.extend(merged(&service, &ask(&service)?, texts));
        }
        Ok(answers)
    }

    /// Whether only published ports lead there.
    fn is_let_in_by_port(&self, from: &End, to: &End) -> bool {
        from.who == Who::Outside
            && to
                .endpoint()
                .and_then(|id| self.network_of(id))
                .is_some_and(|network| !network.routed && !network.adopted)
    }

    /// What to ask the receiver for.
    fn services(&self, from: &End, to: &End, asked: &[Service]) -> BTreeSet<Service> {
        if !asked.is_empty() {
            // A receiver that does not know a name has no such port.
            return asked.iter().filter_map(|service| self.resolve(service, to).ok()).collect();
        }
        let endpoint = to.endpoint().and_then(|id| self.endpoint(id));
        let declared = endpoint.into_iter().flat_map(|endpoint| &endpoint.ports);
        let mut services: BTreeSet<_> =
            declared.map(|port| Service::Port(port.protocol, port.port)).collect();
        if self.is_let_in_by_port(from, to) {
            for publish in endpoint.into_iter().flat_map(|endpoint| &endpoint.publish) {
                let range = publish.container;
                let last = range.last.min(range.first.saturating_add(PUBLISHED - 1));
                services.extend((range.first..=last).map(|port| Service::Port(publish.protocol, port)));
            }
        }
        if services.is_empty() {
            let ingress = to.endpoint().map(|id| self.named_by_rules(id, Direction::Ingress));
            let egress = from.endpoint().map(|id| self.named_by_rules(id, Direction::Egress));
            services = ingress.into_iter().chain(egress).flatten().collect();
        }
        if services.is_empty() {
            services.insert(Service::Anything);
        }
        services
    }

    /// The ports that rules isolating an endpoint name by number: of a range, the lowest.
    fn named_by_rules(&self, id: &EndpointId, direction: Direction) -> BTreeSet<Service> {
        let isolating = self.tables.isolating_in(id, direction);
        let policies = self.world.policies.iter().filter(|policy| {
            isolating.iter().any(|own| own.source == policy.source && own.name == policy.name)
        });
        let rules = policies.flat_map(|policy| match direction {
            Direction::Ingress => policy.ingress.iter().flatten(),
            Direction::Egress => policy.egress.iter().flatten(),
        });
        let ports = rules.flat_map(|rule: &Rule| rule.ports.iter().flatten());
        ports
            .filter_map(|PortMatch { protocol, ports }| match ports {
                Ports::Any => Some(Service::AnyPort(*protocol)),
                Ports::Range(range) => Some(Service::Port(*protocol, range.first)),
                Ports::Named(_) => None,
            })
            .collect()
    }
}

/// The answers of all families as one, where they are the same.
fn merged(service: &Service, found: &[Found], texts: &mut Texts) -> Vec<CellAnswerView> {
    let mut answers: Vec<CellAnswerView> = Vec::new();
    for Found { family, way, answer, .. } in found {
        let view = CellAnswerView {
            service: service.to_string(),
            families: Vec::new(),
            allowed: answer.allowed,
            reachable: answer.allowed && way.leads(),
            egress: texts.number(answer.egress.to_string()),
            ingress: texts.number(answer.ingress.to_string()),
            note: way.note().map(|note| texts.number(note)),
        };
        match answers
            .iter_mut()
            .find(|earlier| CellAnswerView { families: Vec::new(), ..(*earlier).clone() } == view)
        {
            Some(same) => same.families.push(number(*family)),
            None => answers.push(CellAnswerView { families: vec![number(*family)], ..view }),
        }
    }
    answers
}

/// Texts, each once.
#[derive(Debug, Default)]
struct Texts {
    list: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: String) -> usize {
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.list.push(text.clone());
            self.list.len() - 1
        })
    }
}
