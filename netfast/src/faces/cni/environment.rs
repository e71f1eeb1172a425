//! What a runtime says in environment variables.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::failure::{Code, Failure, Result};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Make an interface.
    Add,
    /// Remove it.
    Del,
    /// Look whether it is as it was made.
    Check,
    /// Remove what nobody knows of any more.
    Gc,
    /// Tell whether an interface could be made.
    Status,
    /// Tell the versions that are spoken.
    Version,
}

impl Command {
    const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As `CNI_COMMAND` has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables it cannot do without.
    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &[CONTAINER, NETNS, IFNAME, PATH],
            Self::Del => &[CONTAINER, IFNAME, PATH],
            Self::Gc | Self::Status => &[PATH],
            Self::Version => &[],
        }
    }
}

/// The variable that says what is asked for.
pub(super) const COMMAND: &str = "CNI_COMMAND";
const CONTAINER: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const PATH: &str = "CNI_PATH";
const ARGS: &str = "CNI_ARGS";
const OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// What a runtime says in environment variables. What a command does not need may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// What is asked for.
    pub command: Command,
    /// The container's name among all of the runtime's.
    pub container: String,
    /// Its network namespace.
    pub netns: Option<PathBuf>,
    /// The name of the interface inside.
    pub ifname: String,
    /// Where plugins are.
    pub path: Vec<PathBuf>,
    /// Further arguments.
    pub args: Args,
    /// The namespace may be the plugin's own.
    pub may_be_own: bool,
}

impl Environment {
    /// Reads the variables of this process.
    pub(super) fn read() -> Result<Self> {
        Self::from(&|name| env::var_os(name))
    }

    pub(super) fn from(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self> {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let name = text(COMMAND, raw(COMMAND))?;
        let Some(command) = Command::ALL.into_iter().find(|command| command.name() == name) else {
            let known = Command::ALL.map(Command::name).join(", ");
            return Err(wrong(format!("{COMMAND} is {name:?}, which is none of {known}")));
        };
        if command == Command::Version {
            return Ok(Self::of(command));
        }
        let missing: Vec<_> = command.needs().iter().filter(|name| raw(name).is_none()).copied().collect();
        if !missing.is_empty() {
            return Err(wrong(format!("{} without {}", command.name(), missing.join(", "))));
        }
        let environment = Self {
            container: text(CONTAINER, raw(CONTAINER))?,
            netns: raw(NETNS).map(PathBuf::from),
            ifname: text(IFNAME, raw(IFNAME))?,
            path: raw(PATH).map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            args: Args::parse(&text(ARGS, raw(ARGS))?)?,
            may_be_own: raw(OVERRIDE).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            ..Self::of(command)
        };
        if command.needs().contains(&CONTAINER) && !is_name(&environment.container) {
            let message = format!(
                "{CONTAINER} is {:?} (it starts with a letter or digit, and has letters, digits, '_', '.' and '-' only)",
                environment.container
            );
            return Err(wrong(message));
        }
        if command.needs().contains(&IFNAME) {
            check_ifname(&environment.ifname)?;
        }
        Ok(environment)
    }

    const fn of(command: Command) -> Self {
        Self {
            command,
            container: String::new(),
            netns: None,
            ifname: String::new(),
            path: Vec::new(),
            args: Args::NONE,
            may_be_own: false,
        }
    }

    /// The container's namespace.
    pub(super) fn netns(&self) -> Result<&Path> {
        self.netns.as_deref().ok_or_else(|| wrong(format!("{} without {NETNS}", self.command.name())))
    }
}

/// Whether a container or a network may be called that.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn check_ifname(name: &str) -> Result<()> {
    let why = if name.len() > 15 {
        "it has more than 15 bytes"
    } else if matches!(name, "." | "..") {
        "no device is called so"
    } else if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        "it has a '/', a ':' or a space in it"
    } else if name.contains('%') {
        "it has a '%' in it, for which the kernel would put a number"
    } else {
        return Ok(());
    };
    Err(wrong(format!("{IFNAME} is {name:?}: {why}")))
}

fn text(name: &str, value: Option<OsString>) -> Result<String> {
    let value = value.unwrap_or_default().into_string();
    value.map_err(|value| wrong(format!("{name} is no UTF-8 text: {}", value.display())))
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Code::Environment, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment> {
        Environment::from(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    const ALL: [(&str, &str); 5] = [
        (COMMAND, "ADD"),
        (CONTAINER, "c1"),
        (NETNS, "/run/netns/c1"),
        (IFNAME, "eth0"),
        (PATH, "/opt/cni/bin:/usr/lib/cni"),
    ];

    fn with(changed: &[(&'static str, &'static str)]) -> Result<Environment> {
        read(&[changed, &ALL].concat())
    }

    #[test]
    fn a_whole_one_is_read() {
        let environment = with(&[(ARGS, "IgnoreUnknown=1;K8S_POD_NAME=web")]).unwrap();
        assert_eq!(environment.command, Command::Add);
        assert_eq!(environment.container, "c1");
        assert_eq!(environment.netns().unwrap(), Path::new("/run/netns/c1"));
        assert_eq!(environment.path, ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from));
        assert_eq!(environment.args.pod.as_deref(), Some("web"));
        assert!(!environment.may_be_own);
    }

    #[test]
    fn all_that_is_missing_is_named() {
        let message = |variables: &[(&str, &str)]| {
            let failure = read(variables).unwrap_err();
            assert_eq!(failure.code, 4);
            failure.msg
        };
        assert_eq!(
            message(&[(COMMAND, "ADD")]),
            "ADD without CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"
        );
        assert_eq!(message(&[(COMMAND, "CHECK"), (NETNS, "")]), message(&[(COMMAND, "CHECK")]));
        assert_eq!(message(&[(COMMAND, "DEL")]), "DEL without CNI_CONTAINERID, CNI_IFNAME, CNI_PATH");
        assert_eq!(message(&[(COMMAND, "GC")]), "GC without CNI_PATH");
        assert_eq!(
            message(&[(COMMAND, "add")]),
            "CNI_COMMAND is \"add\", which is none of ADD, DEL, CHECK, GC, STATUS, VERSION"
        );
    }

    #[test]
    fn a_namespace_may_be_missing_where_something_is_removed() {
        let del = [(COMMAND, "DEL"), (NETNS, "")];
        assert_eq!(with(&del).unwrap().netns, None);
        assert_eq!(with(&[(COMMAND, "GC"), (CONTAINER, ""), (IFNAME, "")]).unwrap().ifname, "");
    }

    #[test]
    fn the_versions_are_told_whatever_else_is_said() {
        let junk = [(COMMAND, "VERSION"), (CONTAINER, "-"), (IFNAME, "a/b"), (ARGS, "a=b=c")];
        assert_eq!(read(&junk).unwrap().command, Command::Version);
    }

    #[test]
    fn names_are_checked() {
        for (variable, value) in [
            (CONTAINER, "-c"),
            (CONTAINER, "a/b"),
            (CONTAINER, "a b"),
            (IFNAME, "."),
            (IFNAME, ".."),
            (IFNAME, "a/b"),
            (IFNAME, "a:b"),
            (IFNAME, "a b"),
            (IFNAME, "eth%d"),
            (IFNAME, "sixteen-letters-"),
        ] {
            assert_eq!(with(&[(variable, value)]).unwrap_err().code, 4, "{variable}={value}");
        }
        assert!(with(&[(CONTAINER, "default-t1_x.y"), (IFNAME, "fifteen-letters")]).is_ok());
    }

    #[test]
    fn the_own_namespace_is_allowed_on_demand() {
        for (value, allowed) in [("1", true), ("true", true), ("TRUE", true), ("0", false), ("", false)] {
            let environment = read(&[&[(OVERRIDE, value)], &ALL[..]].concat()).unwrap();
            assert_eq!(environment.may_be_own, allowed, "{value}");
        }
    }
}
