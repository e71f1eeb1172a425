//! The CNI plugin, called as a runtime calls it: one plugin, one command at a time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::ns::Ns;
use crate::process::Running;

/// No call takes anywhere near as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A configuration of the lab's netfast as a plugin.
#[derive(Clone, Debug)]
pub struct Plugin<'a> {
    lab: &'a Lab,
    config: Map<String, Value>,
    path: String,
}

/// A container that a runtime attaches: a namespace, and what the runtime knows of it.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// Its namespace.
    pub ns: Ns,
    /// Its id.
    pub id: String,
    /// The name of its interface.
    pub ifname: String,
    /// What `CNI_ARGS` says.
    pub args: String,
    plugin: Plugin<'a>,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit code; `None`: it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Answer {
    /// What a call that succeeded has printed.
    pub fn ok(self) -> Result<String> {
        if self.code != Some(0) {
            bail!("the plugin failed ({:?}): {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }

    /// The number and the message of a call that failed as the protocol wants it.
    pub fn failure(&self) -> Result<(u64, String)> {
        if self.code != Some(1) {
            bail!("the plugin ended with {:?}: {}{}", self.code, self.stdout, self.stderr);
        }
        let answer: Value = serde_json::from_str(&self.stdout)
            .with_context(|| format!("a failure is one JSON document, not {:?}", self.stdout))?;
        let code = answer["code"].as_u64().context("a failure has a code")?;
        let message = answer["msg"].as_str().context("a failure has a message")?;
        answer["cniVersion"].as_str().context("a failure has a version")?;
        Ok((code, message.to_owned()))
    }
}

impl Lab {
    /// The lab's netfast as a plugin for the network `lab`, by a configuration of version 1.0.0 that says `more`.
    pub fn plugin(&self, more: &Value) -> Plugin<'_> {
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "lab",
            "type": "netfast",
            "stateDir": self.dir().join("state"),
            "runDir": self.dir().join("run"),
            "bpffs": self.dir().join("bpffs"),
            "cgroup": self.cgroup(),
        });
        let config = config.as_object().cloned().unwrap_or_default();
        Plugin { lab: self, config, path: "/nowhere".to_owned() }.with(more)
    }
}

impl<'a> Plugin<'a> {
    /// The same with other keys, or other values of them.
    #[must_use]
    pub fn with(&self, more: &Value) -> Self {
        let mut plugin = self.clone();
        plugin.config.extend(more.as_object().cloned().unwrap_or_default());
        plugin
    }

    /// The same with other plugins in a directory.
    #[must_use]
    pub fn with_path(&self, path: &Path) -> Self {
        Self { path: path.display().to_string(), ..self.clone() }
    }

    /// The configuration.
    pub fn config(&self) -> Value {
        Value::Object(self.config.clone())
    }

    /// A new container, whose interface is called `eth0`.
    pub fn container(&self, id: &str) -> Result<Container<'a>> {
        Ok(self.of(&Ns::new(id)?, id))
    }

    /// A container whose namespace is there already.
    pub fn of(&self, ns: &Ns, id: &str) -> Container<'a> {
        Container {
            ns: ns.clone(),
            id: id.to_owned(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            plugin: self.clone(),
        }
    }

    /// Calls it with a command and nothing about a container.
    pub fn call(&self, command: &str) -> Result<Answer> {
        self.call_with(&[("CNI_COMMAND", command), ("CNI_PATH", &self.path)], &self.config().to_string())
    }

    /// Calls it with exactly these variables and this input.
    pub fn call_with(&self, variables: &[(&str, &str)], input: &str) -> Result<Answer> {
        let mut command = self.lab.plugin_command();
        command.envs(variables.iter().copied());
        let mut running = Running::start(&mut command)?;
        // One that fails before it reads has closed the pipe.
        drop(running.write(input));
        let done = running.finish(PATIENCE)?;
        Ok(Answer { code: done.status.code(), stdout: done.stdout, stderr: done.stderr })
    }
}

impl<'a> Container<'a> {
    /// The same container in the eyes of another configuration.
    #[must_use]
    pub fn under<'b>(&self, plugin: &Plugin<'b>) -> Container<'b> {
        Container {
            ns: self.ns.clone(),
            id: self.id.clone(),
            ifname: self.ifname.clone(),
            args: self.args.clone(),
            plugin: plugin.clone(),
        }
    }

    /// The plugin and its configuration.
    pub const fn plugin(&self) -> &Plugin<'a> {
        &self.plugin
    }

    /// The same container with other arguments.
    #[must_use]
    pub fn with_args(self, args: &str) -> Self {
        Self { args: args.to_owned(), ..self }
    }

    /// The same container with another interface.
    #[must_use]
    pub fn with_ifname(self, ifname: &str) -> Self {
        Self { ifname: ifname.to_owned(), ..self }
    }

    /// Adds it; returns the result.
    pub fn add(&self) -> Result<Value> {
        let printed = self.call("ADD")?.ok()?;
        serde_json::from_str(&printed)
            .with_context(|| format!("the result is one JSON document, not {printed:?}"))
    }

    /// Removes it. What is printed is an error.
    pub fn del(&self) -> Result<()> {
        self.silent("DEL")
    }

    /// Checks it against the result it was added with.
    pub fn check(&self, result: &Value) -> Result<Answer> {
        self.under(&self.plugin.with(&json!({"prevResult": result}))).call("CHECK")
    }

    /// Calls the plugin about it.
    pub fn call(&self, command: &str) -> Result<Answer> {
        self.call_in(command, &self.ns.path().display().to_string())
    }

    /// As [`Self::call`], with another namespace.
    pub fn call_in(&self, command: &str, netns: &str) -> Result<Answer> {
        self.plugin.call_with(&self.variables(command, netns), &self.plugin.config().to_string())
    }

    /// The variables of a call.
    pub fn variables<'v>(&'v self, command: &'v str, netns: &'v str) -> [(&'static str, &'v str); 6] {
        [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", &self.id),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_PATH", &self.plugin.path),
            ("CNI_ARGS", &self.args),
        ]
    }

    /// Calls the plugin with a standard output that takes nothing.
    pub fn call_unheard(&self, command: &str) -> Result<Answer> {
        self.call_by(&["sh", "-c", "exec \"$0\" >/dev/full"], command)
    }

    /// Has another program call the plugin, whose path is its last argument.
    pub fn call_by(&self, caller: &[&str], command: &str) -> Result<Answer> {
        let (program, args) = caller.split_first().context("nobody to call it")?;
        let netns = self.ns.path().display().to_string();
        let lab = self.plugin.lab;
        let mut caller = lab.host.command(program);
        caller.args(args).arg(lab.plugin_command().get_program());
        caller.envs(self.variables(command, &netns));
        let mut running = Running::start(&mut caller)?;
        running.write(&self.plugin.config().to_string())?;
        let done = running.finish(PATIENCE)?;
        Ok(Answer { code: done.status.code(), stdout: done.stdout, stderr: done.stderr })
    }

    fn silent(&self, command: &str) -> Result<()> {
        let printed = self.call(command)?.ok()?;
        if !printed.is_empty() {
            bail!("{command} printed {printed:?}");
        }
        Ok(())
    }
}

/// The address a result has of a family (4 or 6), without the length of its prefix.
pub fn address(result: &Value, family: u8) -> Result<String> {
    let ips = result["ips"].as_array().context("the result has addresses")?;
    ips.iter()
        .filter_map(|ip| ip["address"].as_str()?.split_once('/'))
        .find(|(address, _)| address.contains(':') == (family == 6))
        .map(|(address, _)| address.to_owned())
        .with_context(|| format!("no address of family {family} in {result}"))
}
