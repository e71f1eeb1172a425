//! Lists of CNI plugins in which netfast comes after others, called as a runtime calls them: each gets the result of the one
//! before it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::ns::Ns;
use crate::process::{Finished, Running};

/// Where Debian has the plugins that everybody knows.
const STOCK: &str = "/usr/lib/cni";
/// No call takes anywhere near as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// The plugins of a list, in order.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    lab: &'a Lab,
    name: String,
    version: String,
    plugins: Vec<Value>,
    runtime: Value,
}

/// A container that such a list has attached.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its namespace.
    pub ns: Ns,
    /// Its id.
    pub id: String,
    /// What the last plugin has answered.
    pub result: Value,
}

/// Whether the plugins that everybody knows are installed.
pub fn has_stock_plugins() -> bool {
    ["bridge", "ptp", "portmap", "bandwidth", "tuning", "macvlan", "host-local"]
        .iter()
        .all(|name| Path::new(STOCK).join(name).exists())
}

/// Returns from the calling test, saying so, where other people's plugins are not installed. With `NETFAST_TEST_STRICT=1` the
/// test fails instead, unless `cargo xtask test` could not install them.
#[macro_export]
macro_rules! require_stock_plugins {
    () => {
        $crate::require_root!();
        if let Some(reason) = std::env::var_os("NETFAST_TEST_NO_RUNTIMES") {
            eprintln!("skipped: {}", reason.display());
            return;
        }
        if !$crate::has_stock_plugins() {
            let why = "needs the plugins of the package containernetworking-plugins";
            assert!(std::env::var_os("NETFAST_TEST_STRICT").is_none(), "this test {why}");
            eprintln!("skipped: {why} (run `cargo xtask setup`)");
            return;
        }
    };
}

impl Lab {
    /// A list of version 1.0.0 with these plugins. One of the type `netfast` is the lab's.
    pub fn chain(&self, plugins: &[Value]) -> Chain<'_> {
        Chain {
            lab: self,
            name: "chained".to_owned(),
            version: "1.0.0".to_owned(),
            plugins: plugins.to_vec(),
            runtime: json!({}),
        }
    }

    /// How `host-local` gives addresses of these subnets, one set each, and routes to everywhere.
    pub fn host_local(&self, subnets: &[&str]) -> Value {
        let ranges: Vec<_> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
        let routes: Vec<_> = subnets
            .iter()
            .map(|subnet| json!({"dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" }}))
            .collect();
        json!({"type": "host-local", "dataDir": self.dir().join("ipam"), "ranges": ranges, "routes": routes})
    }
}

impl Chain<'_> {
    /// The same in the words of another version.
    #[must_use]
    pub fn with_version(&self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self.clone() }
    }

    /// The same as another network.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The same with what a runtime adds. Every plugin gets what it declares in `capabilities`.
    #[must_use]
    pub fn with_runtime(&self, runtime: Value) -> Self {
        Self { runtime, ..self.clone() }
    }

    /// Adds a new container.
    pub fn add(&self, id: &str) -> Result<Member> {
        self.add_to(&Ns::new(id)?, id)
    }

    /// Adds a container whose namespace is there already.
    pub fn add_to(&self, ns: &Ns, id: &str) -> Result<Member> {
        let mut result = Value::Null;
        for plugin in &self.plugins {
            let printed = self.call(plugin, "ADD", id, ns, &result)?;
            result = serde_json::from_str(&printed)
                .with_context(|| format!("the result is one JSON document, not {printed:?}"))?;
        }
        Ok(Member { ns: ns.clone(), id: id.to_owned(), result })
    }

    /// Removes it, from the last plugin to the first.
    pub fn del(&self, member: &Member) -> Result<()> {
        for plugin in self.plugins.iter().rev() {
            self.call(plugin, "DEL", &member.id, &member.ns, &member.result)?;
        }
        Ok(())
    }

    /// Asks all plugins whether it is as it was made.
    pub fn check(&self, member: &Member) -> Result<()> {
        for plugin in &self.plugins {
            self.call(plugin, "CHECK", &member.id, &member.ns, &member.result)?;
        }
        Ok(())
    }

    /// Asks netfast alone for something.
    pub fn ask_netfast(&self, command: &str, member: &Member) -> Result<String> {
        let done = self.run_netfast(command, member, None)?;
        if !done.success() {
            bail!("{command} of netfast failed ({}): {}{}", done.status, done.stdout, done.stderr);
        }
        Ok(done.stdout)
    }

    /// As [`Self::ask_netfast`], with `NETFAST_FAULT` set, and however it ends.
    pub fn run_netfast(&self, command: &str, member: &Member, fault: Option<&str>) -> Result<Finished> {
        let plugin = self.plugins.iter().find(|plugin| plugin["type"] == "netfast");
        let plugin = plugin.context("netfast is not in the list")?;
        self.run(plugin, command, &member.id, &member.ns, &member.result, fault)
    }

    fn call(&self, plugin: &Value, command: &str, id: &str, ns: &Ns, previous: &Value) -> Result<String> {
        let done = self.run(plugin, command, id, ns, previous, None)?;
        if !done.success() {
            let kind = plugin["type"].as_str().unwrap_or_default();
            bail!("{command} of {kind} failed ({}): {}{}", done.status, done.stdout, done.stderr);
        }
        Ok(done.stdout)
    }

    fn run(
        &self,
        plugin: &Value,
        command: &str,
        id: &str,
        ns: &Ns,
        previous: &Value,
        fault: Option<&str>,
    ) -> Result<Finished> {
        let kind = plugin["type"].as_str().context("a plugin has a type")?;
        let mut config = plugin.clone();
        config["cniVersion"] = self.version.as_str().into();
        config["name"] = self.name.as_str().into();
        if !previous.is_null() {
            config["prevResult"] = previous.clone();
        }
        for (name, value) in self.runtime.as_object().into_iter().flatten() {
            if plugin["capabilities"][name] == true {
                config["runtimeConfig"][name] = value.clone();
            }
        }
        let mut process = self.process(kind, &mut config);
        process
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", ns.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", STOCK)
            .envs(fault.map(|fault| ("NETFAST_FAULT", fault)));
        let mut running = Running::start(&mut process)?;
        // One that fails before it reads has closed the pipe.
        drop(running.write(&config.to_string()));
        running.finish(PATIENCE)
    }

    fn process(&self, kind: &str, config: &mut Value) -> Command {
        if kind != "netfast" {
            return self.lab.host.command(Path::new(STOCK).join(kind));
        }
        let dir = self.lab.dir();
        for (key, path) in [("stateDir", "state"), ("runDir", "run"), ("bpffs", "bpffs")] {
            config[key] = dir.join(path).display().to_string().into();
        }
        config["cgroup"] = self.lab.cgroup().display().to_string().into();
        self.lab.plugin_command()
    }
}
