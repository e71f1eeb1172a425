//! One connection: whether it may be made, and why or why not.

use std::net::IpAddr;

use anyhow::Result;

use super::ask::{Families, Found};
use super::end::{End, Who};
use super::service::Service;
use super::view::{BlockView, EndView, ExplainView, FamilyView, MissView, SideView};
use super::{Judge, view};
use crate::compile::policy::{Direction, Encounter, Family, Miss, Reason, blocks, misses};
use crate::model::NamedPort;

impl Judge {
    /// Whether a new connection may be made, and why.
    ///
    /// # Errors
    /// When the ends have no address family in common, neither is an endpoint, or the receiver has no port of the name.
    pub fn explain(&self, from: &End, to: &End, service: &Service, asked: Families) -> Result<ExplainView> {
        let service = self.resolve(service, to)?;
        let families = self.families(from, to, asked)?;
        let answers: Vec<_> = families
            .iter()
            .map(|family| Ok(self.family(from, &self.ask(from, to, &service, *family)?)))
            .collect::<Result<_>>()?;
        Ok(ExplainView {
            allowed: answers.iter().all(|answer| answer.allowed),
            reachable: answers.iter().all(|answer| answer.reachable),
            from: self.end_view(from, &families),
            to: self.end_view(to, &families),
            service: service.to_string(),
            families: answers,
        })
    }

    fn family(&self, from: &End, found: &Found) -> FamilyView {
        let Found { family, to, service, way, answer } = found;
        let side = |own: &End, peer: &End, direction, reason| {
            self.side_view(own, peer, direction, reason, (service, *family))
        };
        FamilyView {
            family: number(*family),
            allowed: answer.allowed,
            reachable: answer.allowed && way.leads(),
            note: way.note(),
            receiver: to.name(),
            service: service.to_string(),
            egress: side(from, to, Direction::Egress, &answer.egress),
            ingress: side(to, from, Direction::Ingress, &answer.ingress),
        }
    }

    fn side_view(
        &self,
        own: &End,
        peer: &End,
        direction: Direction,
        reason: &Reason,
        (service, family): (&Service, Family),
    ) -> SideView {
        let mut view = SideView {
            end: own.name(),
            allowed: reason.agrees(),
            verdict: match reason {
                Reason::NotPoliced => "not_policed",
                Reason::NotIsolated => "not_isolated",
                Reason::Rule(_) => "rule",
                Reason::Denied(_) => "denied",
                Reason::Isolated(_) => "isolated",
            },
            reason: reason.to_string(),
            rule: None,
            isolated_by: Vec::new(),
            misses: Vec::new(),
            blocks: Vec::new(),
        };
        match reason {
            Reason::NotPoliced | Reason::NotIsolated => return view,
            Reason::Rule(rule) | Reason::Denied(rule) => view.rule = Some(rule.into()),
            Reason::Isolated(policies) => view.isolated_by = policies.iter().map(Into::into).collect(),
        }
        let (Some(id), Some(addr)) = (own.endpoint(), self.met_as(peer, own, family)) else { return view };
        let wanted = service.wanted(family);
        let encounter = Encounter {
            own: id,
            direction,
            peer: peer.endpoint(),
            addr,
            protocol: wanted.protocol,
            port: wanted.port,
        };
        view.blocks = blocks(&self.world, &encounter).iter().map(BlockView::from).collect();
        view.blocks.sort();
        view.blocks.dedup();
        if matches!(reason, Reason::Isolated(_)) {
            view.misses = misses(&self.world, &encounter).iter().map(miss).collect();
            view.misses.sort_by_key(|miss| (!miss.allows_peer, !miss.allows_port));
        }
        view
    }

    /// The address by which an end meets another.
    fn met_as(&self, end: &End, other: &End, family: Family) -> Option<IpAddr> {
        match end.who {
            Who::Host => Some(self.host_address(end, other, family)),
            // Behind a published port, also by an address of the other family.
            Who::Endpoint(_) => end.address(family).or(end.address(family.other())),
            Who::Outside => end.address(family),
        }
    }

    /// An end, with what others know it by.
    pub(super) fn end_view(&self, end: &End, families: &[Family]) -> EndView {
        let endpoint = end.endpoint().and_then(|id| self.endpoint(id));
        let is_unplaced = end.endpoint().is_some_and(|id| self.unplaced.contains(id));
        let addresses = families.iter().filter(|_| !is_unplaced).filter_map(|family| end.address(*family));
        EndView {
            name: end.name(),
            kind: match end.who {
                Who::Endpoint(_) => "endpoint",
                Who::Host => "host",
                Who::Outside => "outside",
            },
            addresses: addresses.collect(),
            unplaced: is_unplaced,
            network: endpoint.map(|e| e.network.to_string()),
            labels: endpoint.map(|e| e.labels.clone()),
            namespace: endpoint.map(|e| e.id.namespace.to_string()),
            namespace_labels: endpoint.map(|e| self.world.namespace_labels(&e.id.namespace)),
            ports: endpoint.into_iter().flat_map(|e| &e.ports).map(port).collect(),
        }
    }
}

fn miss(miss: &Miss) -> MissView {
    MissView {
        rule: view::PlaceView::from(&miss.rule),
        allows_peer: miss.peers.is_none(),
        allows_port: miss.ports.is_none(),
        text: miss.to_string(),
    }
}

fn port(NamedPort { name, port, protocol }: &NamedPort) -> String {
    match name {
        Some(name) => format!("{name}={port}/{protocol}"),
        None => format!("{port}/{protocol}"),
    }
}

/// The number that a family is called by.
pub(super) const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}
