//! From policies, endpoints and their addresses to the rows by which the kernel decides.
//!
//! A rule speaks of *peers*; the kernel knows *identities*. In between stand *places*: every address of an endpoint
//! and every prefix that a policy names. Each thing a rule asks about a place is a *mark*; places with the same
//! marks are one class, and a class has an identity. A rule then allows the identities that have its mark, and the
//! rules that isolate an endpoint in one direction make up its *rule set*. Where policies of the cluster have a say,
//! which of the rules decides is found out here, so that the kernel asks as ever (see `tiers`).
//!
//! ```text
//! World --endpoints, labels--> who a selector matches --+
//! policies --rulebook--> numbered rules, their peers ---+--peers, places--> marks --classes--> identities --+
//! addresses, prefixes -----------------------------------+          rules by policy --sets--> rows <--------+
//! ```
//!
//! Numbers outlive a compile ([`Numbers`]). Correctness does not hang on that: subjects and prefixes have two
//! versions, of which a packet sees one, and a rule set gets a number that was not in use if its rows would change for an
//! identity that is in both worlds. So a new class of addresses, or one that is gone, costs its own rows and no others.

mod answer;
mod bits;
mod classes;
mod cover;
mod endpoints;
mod labels;
mod near;
mod numbers;
mod peers;
mod places;
mod ports;
mod rulebook;
mod sets;
mod small;
mod tiers;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netfast_common::addr::Addr;
use netfast_common::policy::{OPEN, RuleKey, RuleRow};
use netfast_common::rows::Subject;
use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, Reason};
use self::classes::Classes;
use self::endpoints::{Endpoints, Served};
pub use self::near::{Encounter, Held, Miss, blocks, misses};
pub use self::numbers::Numbers;
use self::peers::{Mark, PeerList};
use self::places::Places;
use self::rulebook::Rulebook;
use self::sets::{Excess, Pantry, Recipe};
pub use self::small::{Book, Change, Member, Roll};
pub use self::verdict::{Explained, Family, Side, lookup};
use crate::model::{ClusterPolicy, EndpointId, Name, Policy, Source, World};

/// The addresses an endpoint was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Addresses besides these two.
    pub more: Vec<IpAddr>,
}

impl Assigned {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = [self.ip.map(IpAddr::V4), self.ip6.map(IpAddr::V6)].into_iter().flatten();
        first.chain(self.more.iter().copied())
    }
}

/// A prefix of addresses of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The lowest address.
    pub addr: Addr,
    /// Length over all 128 bits: that of an IPv4 prefix is 96 more than it is written.
    pub len: u32,
}

/// A direction, as ever from the endpoint's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

/// Which policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its namespace; `None`: it is a policy of the cluster.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
    /// Where it was read.
    pub source: Source,
}

impl From<&Policy> for PolicyRef {
    fn from(policy: &Policy) -> Self {
        let Policy { namespace, name, source, .. } = policy;
        Self { namespace: Some(namespace.clone()), name: name.clone(), source: source.clone() }
    }
}

impl From<&ClusterPolicy> for PolicyRef {
    fn from(policy: &ClusterPolicy) -> Self {
        Self { namespace: None, name: policy.name.clone(), source: policy.source.clone() }
    }
}

/// What a rule number stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// The policy it is in.
    pub policy: PolicyRef,
    /// Its direction.
    pub direction: Direction,
    /// Where it was read. Of equal rules in one policy, the first.
    pub source: Source,
    /// What its author calls it, in a policy of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The policies that isolate an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// For what comes in; none: all may come in.
    pub ingress: Vec<PolicyRef>,
    /// For what goes out; none: all may go out.
    pub egress: Vec<PolicyRef>,
}

/// Everything the kernel is told of policies, and what is needed to explain it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Every endpoint of the world as policy sees it. An identity of 0 stands for an address it has not got.
    pub subjects: BTreeMap<EndpointId, Subject>,
    /// Identities of addresses that are no endpoint's, or not the first of its family, by longest match. Both families' widest prefixes are
    /// always there; the IPv4 one hides the IPv6 one from mapped addresses.
    pub cidrs: BTreeMap<Prefix, u32>,
    /// Rows of the longest-prefix map, by key and prefix length.
    pub rules: BTreeMap<(RuleKey, u32), RuleRow>,
    /// What the numbers in `rules` stand for.
    pub rule_info: BTreeMap<u32, RuleInfo>,
    /// Which policies isolate each endpoint.
    pub isolating: BTreeMap<EndpointId, Isolation>,
    /// Which ones would if those under audit were enforced; nothing where none is under audit.
    pub auditing: BTreeMap<EndpointId, Isolation>,
    /// For the next compile.
    pub numbers: Numbers,
}

/// Policies that come to more rows than there may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policies come to {total} rows, and there may be {limit}, half of limits.rules{}", self.part())]
pub struct TooManyRows {
    /// Rows of all rules.
    pub total: usize,
    /// How many there may be.
    pub limit: usize,
    /// The rule that makes most of them.
    pub largest: Option<Box<RuleInfo>>,
    /// How many that one makes.
    pub rows: usize,
}

impl TooManyRows {
    fn part(&self) -> String {
        self.largest.as_ref().map_or_else(String::new, |info| {
            format!(" ({} come from the rule of {} in {})", self.rows, info.policy, info.source)
        })
    }
}

/// Compiles the policies of `world` for endpoints with these addresses. `previous` are the numbers of the tables in
/// force; the default where there are none. Addresses of endpoints that `world` does not have are ignored.
///
/// # Errors
/// When it comes to more than `max_rows` rule rows. While the tables replace others, the map holds the rows of both.
pub fn compile(
    world: &World,
    addresses: &BTreeMap<EndpointId, Assigned>,
    previous: &Numbers,
    max_rows: usize,
) -> Result<Tables, TooManyRows> {
    compile_in(world, addresses, previous, max_rows, false).map(|(tables, _)| tables)
}

/// As [`compile`], with what it takes to change one endpoint after the other without compiling all of it again; `None`:
/// there are policies with which that cannot be done.
///
/// # Errors
/// As [`compile`].
pub fn compile_to_change(
    world: &World,
    addresses: &BTreeMap<EndpointId, Assigned>,
    previous: &Numbers,
    max_rows: usize,
) -> Result<(Tables, Option<(Book<'static>, Roll)>), TooManyRows> {
    compile_in(world, addresses, previous, max_rows, true)
}

fn compile_in(
    world: &World,
    addresses: &BTreeMap<EndpointId, Assigned>,
    previous: &Numbers,
    max_rows: usize,
    is_to_change: bool,
) -> Result<(Tables, Option<(Book<'static>, Roll)>), TooManyRows> {
    let endpoints = Endpoints::new(world);
    let mut marks = previous.marks.successor();
    let mut rules = previous.rules.successor();
    let book = Rulebook::new(world, &endpoints, &mut marks, &mut rules);

    let blocks = book.peers.values().flat_map(PeerList::blocks).collect();
    let places = Places::new(&endpoints, addresses, &blocks);
    let mut marked: BTreeMap<_, _> =
        book.peers.iter().map(|(mark, peers)| (*mark, peers.places(&endpoints, &places))).collect();
    for (served, who) in endpoints.serving(&book.egress_names) {
        marked.insert(marks.number(Mark::Serves(served)), places.of_endpoints(&who));
    }
    let Classes { of_place, register: identities } =
        Classes::new(places.count(), &marked, &previous.marks, &previous.identities);

    let (marks, rules) = (marks.finish(), rules.finish());
    let pantry = Pantry::new(&marks, &rules, &identities);
    let previous_pantry = Pantry::new(&previous.marks, &previous.rules, &previous.identities);
    let recipes = endpoint_recipes(&endpoints, &book, Asked::Enforced);
    let audits = audit_recipes(&endpoints, &book, &recipes);
    let sets = sets::number(
        &recipes.iter().chain(&audits).flat_map(|pair| [&pair.ingress, &pair.egress]).flatten().collect(),
        &pantry,
        &previous.sets,
        &previous_pantry,
    );
    let set_of = |recipe: &Option<Recipe>| recipe.as_ref().and_then(|r| sets.get(r)).unwrap_or(OPEN);
    let sets::Made { rows, total } =
        sets::rows(&sets, &pantry, max_rows).map_err(|excess| too_many(&excess, max_rows, &book))?;
    let subjects: BTreeMap<EndpointId, Subject> = recipes
        .iter()
        .zip(&audits)
        .enumerate()
        .map(|(endpoint, (pair, audit))| {
            let (identity4, identity6) = places.of_subject(endpoint, &of_place);
            let subject = Subject {
                ingress: set_of(&pair.ingress),
                egress: set_of(&pair.egress),
                audit_ingress: set_of(&audit.ingress),
                audit_egress: set_of(&audit.egress),
                identity4,
                identity6,
            };
            (endpoints.ids[endpoint].clone(), subject)
        })
        .collect();

    let numbers = Numbers { marks, rules, identities, sets };
    let small = is_to_change.then(|| Book::new(world, &book, &numbers, max_rows)).flatten().map(|small| {
        let of_all: Vec<Subject> = subjects.values().copied().collect();
        (small, Roll::new(world, &book, &numbers, &of_place, &of_all, total))
    });
    let tables = Tables {
        subjects,
        cidrs: places.prefixes(&of_place),
        rules: rows,
        isolating: isolating(&endpoints, &book, Asked::Enforced),
        auditing: if book.has_audits() { isolating(&endpoints, &book, Asked::All) } else { BTreeMap::new() },
        rule_info: book.info,
        numbers,
    };
    Ok((tables, small))
}

fn too_many(excess: &Excess, limit: usize, book: &Rulebook<'_>) -> TooManyRows {
    let Excess { total, largest: (number, rows) } = *excess;
    TooManyRows { total, limit, largest: book.info.get(&number).cloned().map(Box::new), rows }
}

/// The recipes of one endpoint; `None` for a direction in which no policy speaks of it.
#[derive(Debug, Default)]
struct Recipes {
    ingress: Option<Recipe>,
    egress: Option<Recipe>,
}

/// Which policies are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Those that are not under audit.
    Enforced,
    /// All of them.
    All,
}

impl Asked {
    fn asks(self, audit: bool) -> bool {
        self == Self::All || !audit
    }
}

/// The recipes that policies under audit would have led to, where they differ from those of the enforced ones.
fn audit_recipes(endpoints: &Endpoints<'_>, book: &Rulebook<'_>, enforced: &[Recipes]) -> Vec<Recipes> {
    if !book.has_audits() {
        return enforced.iter().map(|_| Recipes::default()).collect();
    }
    let all = endpoint_recipes(endpoints, book, Asked::All);
    let pairs = all.into_iter().zip(enforced);
    pairs
        .map(|(all, enforced)| Recipes {
            ingress: all.ingress.filter(|recipe| enforced.ingress.as_ref() != Some(recipe)),
            egress: all.egress.filter(|recipe| enforced.egress.as_ref() != Some(recipe)),
        })
        .collect()
}

/// The recipes of all endpoints, by index.
fn endpoint_recipes(endpoints: &Endpoints<'_>, book: &Rulebook<'_>, asked: Asked) -> Vec<Recipes> {
    let mut recipes: Vec<Recipes> = (0..endpoints.count()).map(|_| Recipes::default()).collect();
    for in_force in book.policies.iter().filter(|policy| asked.asks(policy.audit)) {
        for endpoint in in_force.selected.iter() {
            let Recipes { ingress, egress } = &mut recipes[endpoint];
            if let Some(chapter) = in_force.chapter(Direction::Ingress) {
                let recipe = ingress.get_or_insert_default();
                recipe.rules.extend(&chapter.rules);
                let served: BTreeSet<Served> =
                    chapter.port_names.iter().filter_map(|name| endpoints.resolve(endpoint, name)).collect();
                recipe.served.extend(served);
            }
            if let Some(chapter) = in_force.chapter(Direction::Egress) {
                egress.get_or_insert_default().rules.extend(&chapter.rules);
            }
        }
    }
    for in_force in book.cluster.iter().filter(|policy| asked.asks(policy.audit)) {
        for endpoint in in_force.selected.iter() {
            let Recipes { ingress, egress } = &mut recipes[endpoint];
            for (recipe, steps) in [(ingress, &in_force.ingress), (egress, &in_force.egress)] {
                if !steps.rules.is_empty() {
                    let served = steps.port_names.iter().filter_map(|name| endpoints.resolve(endpoint, name));
                    let recipe = recipe.get_or_insert_with(Recipe::open);
                    recipe.add_steps(in_force.tier, &steps.rules, served);
                }
            }
        }
    }
    recipes
}

/// Which policies isolate each endpoint.
fn isolating(
    endpoints: &Endpoints<'_>,
    book: &Rulebook<'_>,
    asked: Asked,
) -> BTreeMap<EndpointId, Isolation> {
    let mut isolating: Vec<Isolation> = vec![Isolation::default(); endpoints.count()];
    for in_force in book.policies.iter().filter(|policy| asked.asks(policy.audit)) {
        for endpoint in in_force.selected.iter() {
            let Isolation { ingress, egress } = &mut isolating[endpoint];
            for (direction, list) in [(Direction::Ingress, ingress), (Direction::Egress, egress)] {
                if in_force.chapter(direction).is_some() {
                    list.push(PolicyRef::from(in_force.policy));
                }
            }
        }
    }
    endpoints.ids.iter().map(|id| (*id).clone()).zip(isolating).collect()
}
