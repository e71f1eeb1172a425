//! Single endpoints, as commands add, label and remove them: what that touches and nothing else, where that will do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};

use super::instance::Instance;
use super::ledger::Ledger;
use super::single::Difference;
use crate::model::{Endpoint, EndpointId, FindError, Labels, Name, Network, find};
use crate::store::{Amendment, AttachmentRecord, Defined, DefinedEndpoints, Origin, Prepared};

/// Whoever reads the definitions reads all amendments. When there are so many, the next change writes the definitions anew, with
/// the amendments in them.
const MAX_AMENDMENTS: usize = 256;

/// What is known of all endpoints while nothing is under way.
struct Known {
    ledger: Ledger,
    defined: DefinedEndpoints,
}

/// Where it is written down what an endpoint is to become.
enum Place {
    /// Beside the definitions.
    Amendment(Amendment),
    /// Where the container runtime's other wishes are.
    Attachment(AttachmentRecord),
}

impl Instance {
    /// Adds an endpoint, which `make` makes, given the networks there are.
    ///
    /// # Errors
    /// When `make` says so, an endpoint has that name, the outcome would contradict itself, or the kernel refuses.
    pub fn add_endpoint(
        &mut self,
        make: impl Fn(&BTreeMap<Name, Network>) -> Result<Endpoint>,
    ) -> Result<EndpointId> {
        if let Some(known) = self.known_endpoints()? {
            let endpoint = make(&known.ledger.networks)?;
            let id = endpoint.id.clone();
            if known.ledger.entries.find(&id).is_some() {
                return Err(exists(&id));
            }
            let now = Defined { origin: Origin::Command, endpoint: endpoint.clone() };
            let place = Place::Amendment(Amendment { id: id.clone(), now: Some(now) });
            // One in a network of containers needs that after a reboot, of which an amendment does not tell.
            let is_among_containers = known.ledger.attached_networks.contains(&endpoint.network);
            if !is_among_containers && self.step(known, Difference::Added(&endpoint), place)? {
                return Ok(id);
            }
        }
        self.change(|definitions| {
            let endpoint = make(&definitions.world.networks)?;
            let id = endpoint.id.clone();
            if definitions.world.endpoints.insert(id.clone(), endpoint).is_some() {
                return Err(exists(&id));
            }
            definitions.origins.insert(id.clone(), Origin::Command);
            Ok(id)
        })
    }

    /// Changes the labels of the endpoint that `name` means, and returns what they are then.
    ///
    /// # Errors
    /// When no endpoint, or more than one, has that name, the outcome would contradict itself, or the kernel refuses.
    pub fn label_endpoint(&mut self, name: &str, edit: impl Fn(&mut Labels)) -> Result<(EndpointId, Labels)> {
        if let Some(known) = self.known_endpoints()? {
            let id = known.find(name)?;
            if let Some(mut place) = self.place(&known, &id)?
                && let Some(endpoint) = place.endpoint()
            {
                let was = endpoint.clone();
                edit(&mut endpoint.labels);
                let is = endpoint.clone();
                if is != was && self.step(known, Difference::Relabelled(&was, &is), place)? {
                    return Ok((id, is.labels));
                }
            }
        }
        self.change(|definitions| {
            let id = definitions.world.find_endpoint(name)?.id.clone();
            let endpoint = definitions.world.endpoints.get_mut(&id).context("an endpoint without a place")?;
            edit(&mut endpoint.labels);
            Ok((id, endpoint.labels.clone()))
        })
    }

    /// Removes the endpoints that `names` mean. With `ignore_missing`, names that nobody has are passed over.
    ///
    /// # Errors
    /// When a name is nobody's or that of several, or the kernel refuses.
    pub fn remove_endpoints(&mut self, names: &[String], ignore_missing: bool) -> Result<()> {
        if let [name] = names
            && let Some(known) = self.known_endpoints()?
        {
            let id = match known.find(name) {
                Err(FindError::None { .. }) if ignore_missing => return Ok(()),
                found => found?,
            };
            if let Some(was) = known.defined.endpoints.get(&id).map(|defined| defined.endpoint.clone()) {
                let place = Place::Amendment(Amendment { id, now: None });
                if self.step(known, Difference::Removed(&was), place)? {
                    return Ok(());
                }
            }
        }
        self.change(|definitions| {
            // All names are understood before any endpoint goes: one may be named twice.
            let mut ids = Vec::new();
            for name in names {
                match definitions.world.find_endpoint(name) {
                    Ok(endpoint) => ids.push(endpoint.id.clone()),
                    Err(FindError::None { .. }) if ignore_missing => {}
                    Err(error) => return Err(error.into()),
                }
            }
            for id in ids {
                definitions.world.endpoints.remove(&id);
                definitions.origins.remove(&id);
            }
            Ok(())
        })
    }

    /// What is known of all endpoints. `None`: something was cut short, or there is nothing yet.
    fn known_endpoints(&self) -> Result<Option<Known>> {
        let Some(ledger) = Ledger::read(self.store())? else { return Ok(None) };
        let defined = self.store().defined_endpoints()?.filter(|defined| !defined.writing.is_empty());
        Ok(defined.map(|defined| Known { ledger, defined }))
    }

    /// Where it is written down what an endpoint is.
    fn place(&self, known: &Known, id: &EndpointId) -> Result<Option<Place>> {
        if let Some(defined) = known.defined.endpoints.get(id) {
            return Ok(Some(Place::Amendment(Amendment { id: id.clone(), now: Some(defined.clone()) })));
        }
        let key = known.ledger.entries.find(id).and_then(|entry| entry.key());
        let Some(key) = key else { return Ok(None) };
        let record = self.store().attachment(&key)?;
        Ok(record.filter(|record| record.endpoint.id == *id).map(Place::Attachment))
    }

    /// Does it and writes it down, or leaves everything as it was. `false`: that takes more, and nothing was done.
    fn step(&mut self, known: Known, difference: Difference<'_>, place: Place) -> Result<bool> {
        if matches!(place, Place::Amendment(_)) && self.store().amendments()? >= MAX_AMENDMENTS {
            return Ok(false);
        }
        let Known { ledger, mut defined } = known;
        let made = self.write_step(&mut defined, ledger, difference, place);
        self.read_anew();
        made
    }

    fn write_step(
        &mut self,
        defined: &mut DefinedEndpoints,
        ledger: Ledger,
        difference: Difference<'_>,
        place: Place,
    ) -> Result<bool> {
        let prepared = match &place {
            // Where there is no room for it, nothing need be tried.
            Place::Amendment(amendment) => Some(self.store().prepare_amendment(&defined.writing, amendment)?),
            Place::Attachment(_) => None,
        };
        let made = self.make_alone(self.single_soon(ledger), difference).and_then(|made| {
            let Some(ledger) = made else { return Ok(false) };
            match place {
                Place::Amendment(Amendment { id, now: Some(now) }) => {
                    defined.endpoints.insert(id, now);
                }
                Place::Amendment(Amendment { id, now: None }) => {
                    defined.endpoints.remove(&id);
                }
                Place::Attachment(record) => self.store().save_attachment(&record)?,
            }
            prepared.map_or(Ok(()), Prepared::put)?;
            self.store().save_defined_endpoints(defined)?;
            ledger.save(self.store())?;
            Ok(true)
        });
        made.or_else(|error| self.undo(error))
    }
}

impl Place {
    fn endpoint(&mut self) -> Option<&mut Endpoint> {
        match self {
            Self::Amendment(amendment) => amendment.now.as_mut().map(|defined| &mut defined.endpoint),
            Self::Attachment(record) => Some(&mut record.endpoint),
        }
    }
}

impl Known {
    fn find(&self, text: &str) -> Result<EndpointId, FindError> {
        let ids = |is_asked: &dyn Fn(&str) -> bool| -> BTreeSet<EndpointId> {
            let asked = self.ledger.entries.iter().filter(|entry| is_asked(entry.name));
            asked.filter_map(|entry| entry.id()).collect()
        };
        let name = text.rsplit('/').next().unwrap_or(text);
        match find(text, &ids(&|other| other == name), |id| id) {
            // All are needed for the answer that it is none of them.
            Err(FindError::None { .. }) => find(text, &ids(&|_| true), |id| id).cloned(),
            found => found.cloned(),
        }
    }
}

fn exists(id: &EndpointId) -> anyhow::Error {
    anyhow!("endpoint {id} exists already (remove it first: netfast endpoint rm {id})")
}
