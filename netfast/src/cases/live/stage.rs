//! The host that cases are played on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::super::world::Scene;
use super::Settings;
use super::ends::{Place, Places};
use super::subnets::Plan;
use crate::manifest::cases::{Case, End};
use crate::model::{Limits, World};
use crate::net::{Netlink, Netns, wait_until_running};
use crate::reconcile::instance::{Instance, Options};
use crate::store::PathsOptions;

/// The host's way out.
const UPLINK: &str = "uplink0";
/// The device of everybody else.
const DEVICE: &str = "eth0";

/// How long devices may take to run. They are used all the same then.
const CARRIER: Duration = Duration::from_secs(5);

/// A case needs little, and what is smaller is made sooner.
fn limits() -> Limits {
    Limits {
        endpoints: 1024,
        addresses: 4096,
        flows: 16384,
        new_flows: 16384,
        fragments: 128,
        published: 1,
        sources: 1,
        uplinks: 16,
        denied: 1,
        sockets: 128,
        ..Limits::default()
    }
}

/// A host with one instance of netfast, on the calling thread.
pub(super) struct Stage<'p> {
    pub(super) plan: &'p Plan,
    options: Options,
    instance: Instance,
    host: Netns,
    netlink: Netlink,
}

impl<'p> Stage<'p> {
    /// Opens an instance whose files are in `directory`. The calling thread is in a sandbox.
    pub(super) fn new(directory: &Path, plan: &'p Plan, settings: &Settings) -> Result<Self> {
        let path = |name: &str| Some(directory.join(name));
        let paths = PathsOptions {
            state_dir: path("state"),
            run_dir: path("run"),
            bpffs: path("bpf"),
            cgroup: settings.cgroup.clone(),
        };
        let options = Options { paths, ..Options::default() };
        let host = Netns::current()?;
        let netlink = Netlink::open(&host)?;
        netlink.set_up(netlink.link("lo")?.index)?;
        Ok(Self { plan, instance: Instance::open(&options)?, options, host, netlink })
    }

    /// Makes the world of a case of the one before.
    pub(super) fn build(&mut self, case: &Case, scene: &Scene) -> Result<Places> {
        let outside = self.outside(case, scene)?;
        let plan = self.plan;
        let world = World {
            networks: BTreeMap::from([(plan.network.name.clone(), plan.network.clone())]),
            limits: limits(),
            ..scene.world.clone()
        };
        self.instance.change(|definitions| {
            definitions.world = world;
            Ok(())
        })?;
        let mut places = Places::from([(Place::Outside, outside), (Place::Node, self.host.try_clone()?)]);
        for id in scene.world.endpoints.keys() {
            let name = format!("{}/{}", id.namespace, id.name);
            let netns = Instance::exec_context(&self.options, &name)?.netns;
            places.insert(Place::Endpoint(id.clone()), Netns::open(&netns)?);
        }
        wait_for_carriers(&places)?;
        Ok(places)
    }

    /// Joins the host to a new world outside, which has every address of the case that is no endpoint's.
    fn outside(&self, case: &Case, scene: &Scene) -> Result<Netns> {
        if let Ok(link) = self.netlink.link(UPLINK) {
            self.netlink.delete_link(link.index)?;
        }
        let outside = Netns::unshare()?;
        let beyond = Netlink::open(&outside)?;
        let ends = self.netlink.create_wire(UPLINK, &outside, DEVICE).context("join the world outside")?;
        let (here, there) = (self.plan.node(), self.plan.outside());
        for (netlink, index, own, other) in
            [(&self.netlink, ends.host, &here, &there), (&beyond, ends.container, &there, &here)]
        {
            for address in own {
                netlink.add_address(index, *address)?;
            }
            netlink.set_up(index)?;
            for gateway in other {
                netlink.add_default_route(index, gateway.addr(), false)?;
            }
        }
        beyond.set_up(beyond.link("lo")?.index)?;
        for end in case.probes.iter().flat_map(|probe| [&probe.from, &probe.to]) {
            if let End::Address(address) = scene.known(end)
                && super::send::is_ordinary(address)
            {
                beyond.add_address(ends.container, address.into())?;
            }
        }
        Ok(outside)
    }
}

fn wait_for_carriers(places: &Places) -> Result<()> {
    for (place, netns) in places {
        let device = if *place == Place::Node { UPLINK } else { DEVICE };
        wait_until_running(netns, device, CARRIER)?;
    }
    Ok(())
}
