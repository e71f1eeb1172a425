//! Calls lists of CNI plugins as libcni does, for every version of the specification up to 1.1.0.
//!
//! Written from the specification and from what runtimes were seen to do; `tests/libcni` has the real libcni do the same
//! up to 1.0.0. Whatever is called is watched: it must end, print one JSON document or nothing, and leave no process
//! behind that holds its output open.

mod cache;
mod call;
mod real;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use self::cache::Cache;
use self::call::Call;
pub use self::call::PluginError;
pub use self::real::RealLibcni;
use crate::lab::Lab;
use crate::ns::Ns;

/// One interface that a runtime wants for a container.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// What the runtime calls it.
    pub id: String,
    /// Path of its network namespace. A runtime that has it no more passes an empty one.
    pub netns: PathBuf,
    /// Name of the interface inside.
    pub ifname: String,
    /// `CNI_ARGS`, such as `IgnoreUnknown=1;K8S_POD_NAME=web`.
    pub args: String,
    /// What the runtime has to say by capability. A plugin is told of those that its configuration declares.
    pub capabilities: Map<String, Value>,
}

impl Sandbox {
    /// The interface `eth0` of the container `id` in the namespace `ns`.
    pub fn new(id: &str, ns: &Ns) -> Self {
        Self {
            id: id.to_owned(),
            netns: ns.path(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            capabilities: Map::new(),
        }
    }

    /// With another name for the interface.
    #[must_use]
    pub fn ifname(mut self, ifname: &str) -> Self {
        ifname.clone_into(&mut self.ifname);
        self
    }

    /// With `CNI_ARGS`.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        args.clone_into(&mut self.args);
        self
    }

    /// With something to say by a capability.
    #[must_use]
    pub fn capability(mut self, name: &str, value: Value) -> Self {
        self.capabilities.insert(name.to_owned(), value);
        self
    }

    /// With ports to publish: host port, container port, protocol.
    #[must_use]
    pub fn ports(self, ports: &[(u16, u16, &str)]) -> Self {
        let mappings: Value = ports
            .iter()
            .map(|(host, sandbox, protocol)| {
                json!({"hostPort": host, "containerPort": sandbox, "protocol": protocol})
            })
            .collect();
        self.capability("portMappings", mappings)
    }

    /// As a runtime knows it whose namespace is gone.
    #[must_use]
    pub fn gone(mut self) -> Self {
        self.netns = PathBuf::new();
        self
    }
}

/// A runtime's half of CNI, on a lab's host.
#[derive(Debug)]
pub struct Libcni<'lab> {
    lab: &'lab Lab,
    /// Where plugins are, the first directory first.
    pub path: Vec<PathBuf>,
    /// Variables that plugins get besides, such as `NETFAST_FAULT`.
    pub variables: Vec<(String, String)>,
    cache: Cache,
    stderr: Mutex<String>,
}

impl<'lab> Libcni<'lab> {
    /// With plugins in the directories of `path`, and a cache of results in the lab's directory.
    pub fn new(lab: &'lab Lab, path: &[&Path]) -> Self {
        // Plugins are called directly, and may have brought netfast up.
        lab.mark_used();
        let path = path.iter().map(|directory| (*directory).to_owned()).collect();
        let cache = Cache::new(lab.dir().join("cni-cache"));
        Self { lab, path, variables: Vec::new(), cache, stderr: Mutex::default() }
    }

    /// The same with one more variable for the plugins.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut variables = self.variables.clone();
        variables.push((name.to_owned(), value.to_owned()));
        let (path, cache) = (self.path.clone(), self.cache.clone());
        Self { lab: self.lab, path, variables, cache, stderr: Mutex::default() }
    }

    /// ADD by each plugin, each of which gets the result of the one before it. Returns the last result, and keeps it.
    pub fn add(&self, list: &Value, sandbox: &Sandbox) -> Result<Value> {
        let mut result = None;
        for plugin in plugins(list)? {
            let config = config(list, plugin, Some(sandbox), result.as_ref())?;
            let printed = self.call("ADD", plugin, Some(sandbox), &config)?;
            let printed = printed.with_context(|| format!("ADD by {} printed nothing", kind(plugin)))?;
            if printed["cniVersion"] != version(list) {
                bail!("ADD by {} has a result of another version: {printed}", kind(plugin));
            }
            result = Some(printed);
        }
        let result = result.context("the list has no plugins")?;
        self.cache.store(name(list), sandbox, &result)?;
        Ok(result)
    }

    /// CHECK by each plugin, with the result that was kept.
    pub fn check(&self, list: &Value, sandbox: &Sandbox) -> Result<()> {
        if version(list) < "0.4.0" {
            bail!("version {} has no CHECK", version(list));
        }
        if list["disableCheck"] == true {
            return Ok(());
        }
        let result = self.cache.load(name(list), &sandbox.id, &sandbox.ifname)?;
        for plugin in plugins(list)? {
            let config = config(list, plugin, Some(sandbox), result.as_ref())?;
            self.silent("CHECK", plugin, Some(sandbox), &config)?;
        }
        Ok(())
    }

    /// DEL by each plugin, the last one first, with the result that was kept; which is then forgotten.
    pub fn del(&self, list: &Value, sandbox: &Sandbox) -> Result<()> {
        let result = if version(list) < "0.4.0" {
            None
        } else {
            self.cache.load(name(list), &sandbox.id, &sandbox.ifname)?
        };
        for plugin in plugins(list)?.iter().rev() {
            let config = config(list, plugin, Some(sandbox), result.as_ref())?;
            self.silent("DEL", plugin, Some(sandbox), &config)?;
        }
        self.cache.forget(name(list), &sandbox.id, &sandbox.ifname)
    }

    /// Forgets a result, as a runtime whose cache is lost.
    pub fn forget(&self, list: &Value, sandbox: &Sandbox) -> Result<()> {
        self.cache.forget(name(list), &sandbox.id, &sandbox.ifname)
    }

    /// Removes what is not in `valid`, pairs of container and interface: DEL for what the cache knows, then GC by each
    /// plugin. All plugins are asked, also after one has failed.
    pub fn gc(&self, list: &Value, valid: &[(&str, &str)]) -> Result<()> {
        if list["disableGC"] == true {
            return Ok(());
        }
        for (id, ifname) in self.cache.attachments(name(list))? {
            if !valid.contains(&(id.as_str(), ifname.as_str())) {
                let sandbox = Sandbox {
                    id,
                    netns: PathBuf::new(),
                    ifname,
                    args: String::new(),
                    capabilities: Map::new(),
                };
                self.del(list, &sandbox)?;
            }
        }
        if version(list) < "1.1.0" {
            return Ok(());
        }
        let attachments: Value =
            valid.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect();
        let mut result = Ok(());
        for plugin in plugins(list)? {
            let mut config = config(list, plugin, None, None)?;
            config["cni.dev/attachments"] = attachments.clone();
            config["cni.dev/valid-attachments"] = attachments.clone();
            result = result.and(self.silent("GC", plugin, None, &config));
        }
        result
    }

    /// Whether every plugin could serve an ADD. Versions before 1.1.0 cannot ask.
    pub fn status(&self, list: &Value) -> Result<()> {
        if version(list) < "1.1.0" {
            return Ok(());
        }
        for plugin in plugins(list)? {
            let config = config(list, plugin, None, None)?;
            self.silent("STATUS", plugin, None, &config)?;
        }
        Ok(())
    }

    /// What the plugin `kind` answers to VERSION, asked with the odd values that libcni has there.
    pub fn version(&self, kind: &str) -> Result<Value> {
        let plugin = json!({"type": kind});
        let answer = self.call("VERSION", &plugin, None, &json!({"cniVersion": "1.0.0"}))?;
        answer.with_context(|| format!("VERSION by {kind} printed nothing"))
    }

    /// Whether every plugin of a list is there and knows its version, as runtimes ask when they read it.
    pub fn validate(&self, list: &Value) -> Result<()> {
        for plugin in plugins(list)? {
            let answer = self.version(kind(plugin))?;
            let known = answer["supportedVersions"].as_array().context("VERSION tells no versions")?;
            if !known.iter().any(|known| known == version(list)) {
                bail!("{} does not know version {}", kind(plugin), version(list));
            }
        }
        Ok(())
    }

    /// What the last plugin wrote on standard error that succeeded.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call that must print nothing if it succeeds.
    fn silent(
        &self,
        command: &'static str,
        plugin: &Value,
        sandbox: Option<&Sandbox>,
        config: &Value,
    ) -> Result<()> {
        match self.call(command, plugin, sandbox, config)? {
            Some(printed) => bail!("{command} by {} printed {printed}", kind(plugin)),
            None => Ok(()),
        }
    }

    /// Makes a call.
    fn call(
        &self,
        command: &'static str,
        plugin: &Value,
        sandbox: Option<&Sandbox>,
        config: &Value,
    ) -> Result<Option<Value>> {
        let (printed, stderr) = self.prepare(command, plugin, sandbox)?.run(config)?;
        *self.stderr.lock().unwrap_or_else(PoisonError::into_inner) = stderr;
        Ok(printed)
    }

    fn prepare(&self, command: &'static str, plugin: &Value, sandbox: Option<&Sandbox>) -> Result<Call> {
        let kind = kind(plugin);
        let program = self
            .path
            .iter()
            .map(|directory| directory.join(kind))
            .find(|program| program.is_file())
            .with_context(|| format!("no plugin {kind} in {:?}", self.path))?;
        let mut variables = self.variables.clone();
        let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
        let path: Vec<_> = self.path.iter().map(|directory| directory.display().to_string()).collect();
        set("CNI_COMMAND", command);
        if command == "VERSION" {
            for name in ["CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
                set(name, "dummy");
            }
        } else {
            set("CNI_PATH", &path.join(":"));
        }
        if let Some(Sandbox { id, netns, ifname, args, .. }) = sandbox {
            set("CNI_CONTAINERID", id);
            set("CNI_NETNS", &netns.display().to_string());
            set("CNI_IFNAME", ifname);
            set("CNI_ARGS", args);
        }
        Ok(Call { host: self.lab.host.clone(), program, command, variables })
    }
}

/// What a plugin reads on its standard input.
fn config(
    list: &Value,
    plugin: &Value,
    sandbox: Option<&Sandbox>,
    previous: Option<&Value>,
) -> Result<Value> {
    let mut config = plugin.as_object().context("a plugin's configuration is no object")?.clone();
    for key in ["name", "cniVersion"] {
        config.insert(key.to_owned(), list[key].clone());
    }
    let declares = |name: &str| plugin["capabilities"][name] == true;
    let told: Map<_, _> = sandbox
        .into_iter()
        .flat_map(|sandbox| &sandbox.capabilities)
        .filter(|(name, _)| declares(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !told.is_empty() {
        config.insert("runtimeConfig".to_owned(), told.into());
    }
    if let Some(previous) = previous {
        config.insert("prevResult".to_owned(), previous.clone());
    }
    Ok(config.into())
}

fn plugins(list: &Value) -> Result<&[Value]> {
    list["plugins"].as_array().map(Vec::as_slice).context("the list has no plugins")
}

fn kind(plugin: &Value) -> &str {
    plugin["type"].as_str().unwrap_or_default()
}

fn name(list: &Value) -> &str {
    list["name"].as_str().unwrap_or_default()
}

fn version(list: &Value) -> &str {
    list["cniVersion"].as_str().unwrap_or("0.1.0")
}
