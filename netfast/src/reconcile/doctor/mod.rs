//! What a host offers netfast, and what netfast does where something is missing.
//!
//! Nothing of the host is changed: what must be tried is tried in namespaces that are gone afterwards.

mod features;
mod instance;
mod settings;
mod trial;

use nix::unistd::geteuid;
use serde::Serialize;

use super::instance::Options;

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Ok,
    /// It is not.
    Missing,
    /// Good to know.
    Note,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// Whether netfast cannot run without.
    pub needed: bool,
    /// The Linux that brought it.
    pub since: Option<&'static str>,
    /// What was found, or what netfast does without it.
    pub what: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing is missing that netfast needs.
    pub usable: bool,
    /// One by one.
    pub checks: Vec<Check>,
}

impl Check {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, state: State::Ok, needed: false, since: None, what: what.into() }
    }

    fn note(name: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::ok(name, what) }
    }

    fn missing(name: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Missing, ..Self::ok(name, what) }
    }

    /// It is there, or netfast says what it does without.
    fn whether(is_there: bool, name: &'static str, found: &str, without: &str) -> Self {
        if is_there { Self::ok(name, found) } else { Self::missing(name, without) }
    }

    /// Nothing works without it.
    fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    fn since(self, release: &'static str) -> Self {
        Self { since: Some(release), ..self }
    }
}

/// Looks at everything.
pub fn examine(options: &Options) -> Report {
    let is_root = geteuid().is_root();
    let mut checks =
        vec![features::rights(is_root), features::release(), features::object(), features::btf()];
    if is_root {
        checks.push(features::netns_cookie());
        checks.extend(features::asked_of_the_kernel());
        checks.extend(trial::run());
    }
    checks.push(features::cgroup(options.paths.cgroup.as_deref()));
    checks.push(features::membarrier());
    checks.extend(settings::all());
    if is_root {
        checks.push(instance::check(options));
    }
    let usable = checks.iter().all(|check| check.state != State::Missing || !check.needed);
    Report { usable, checks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_missing_stands_in_the_way() {
        let text = |check: Check| serde_json::to_value(check).unwrap();
        let tcx = Check::whether(false, "tcx", "there", "not there").since("6.6");
        assert_eq!(
            text(tcx),
            serde_json::json!({"name": "tcx", "state": "missing", "needed": false, "since": "6.6", "what": "not there"})
        );
        assert_eq!(text(Check::whether(true, "x", "there", "not there").needed())["state"], "ok");
    }

    #[test]
    fn without_rights_the_rest_is_still_told() {
        assert_eq!(features::rights(false).state, State::Missing);
        assert!(features::rights(false).needed);
    }

    #[test]
    fn this_host_will_do() {
        if !geteuid().is_root() || crate::kernel::check_object().is_err() {
            eprintln!("skipped: needs root and the eBPF programs");
            return;
        }
        let Report { usable, checks } = examine(&Options::default());
        assert!(usable, "{checks:#?}");
        let mut names: Vec<_> = checks.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checks.len());
    }
}
