//! Cases: unit tests of network policies (`netpol-cases/1`). A case is a small world, its policies, and connections with
//! what should become of them.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::file;
use super::load::split;
use super::yaml::{Report, parse};
use crate::model::{Endpoint, EndpointId, Labels, Name, Protocol, Source};

/// The name of the format, as files may state it.
pub const FORMAT: &str = "netpol-cases/1";

/// The network that the endpoints of every case are in.
pub const NETWORK: &str = "case";

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub id: String,
    /// Where it was read.
    pub source: Source,
    /// Labels of namespaces. Those that only endpoints name have none but the implied one.
    pub namespaces: BTreeMap<Name, Labels>,
    /// The endpoints.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Manifests, not read yet: what is wrong with them is the case's failure, not the file's.
    pub policies: Vec<Manifest>,
    /// The connections.
    pub probes: Vec<Probe>,
    /// Indices of the probes that decide; empty: all do.
    pub smoke: Vec<usize>,
    /// Its place among snapshots of one changing world.
    pub sequence: Option<Step>,
}

/// A text that holds policies, and what to call it in complaints.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The case's id, or the name of a file.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A place among the snapshots of a changing world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The world.
    pub id: String,
    /// Which snapshot.
    pub step: i64,
}

/// A new connection, and what should become of it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Who asks for it.
    pub from: End,
    /// Whom.
    pub to: End,
    /// The port of the one who is asked.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether IPv6 is used; `None`: whatever both ends have, IPv4 first.
    pub is_v6: Option<bool>,
    /// What should become of it.
    pub expect: Verdict,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An endpoint of the case.
    Endpoint(EndpointId),
    /// An address. It may be an endpoint's.
    Address(IpAddr),
    /// The machine itself.
    Node,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is not.
    Deny,
}

impl Verdict {
    /// The verdict in a truth value.
    pub const fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(EndpointId { namespace, name }) => f.pad(&format!("{namespace}/{name}")),
            Self::Address(address) => f.pad(&format!("ip:{address}")),
            Self::Node => f.pad("node"),
        }
    }
}

/// Cases, and warnings about their files.
pub type LoadedCases = (Vec<Case>, Vec<Diagnostic>);

/// Reads the cases of files, in their order.
pub fn load_cases(files: &[PathBuf]) -> Result<LoadedCases, Diagnostics> {
    let mut cases = Vec::new();
    let mut found = Vec::new();
    for path in files {
        match file::read(path) {
            Ok(text) => {
                let directory = path.parent().unwrap_or(Path::new(""));
                found.extend(read_file(&path.display().to_string(), &text, directory, &mut cases));
            }
            Err(error) => found.push(error),
        }
    }
    Ok((cases, split(found)?))
}

/// Reads one file. The policies it names are looked for in `directory`.
pub(super) fn read_file(name: &str, text: &str, directory: &Path, cases: &mut Vec<Case>) -> Vec<Diagnostic> {
    let mut report = Report::new(name, text);
    let Some(documents) = parse(text, &mut report) else { return report.finish() };
    for document in documents.iter().filter(|document| !document.is_null()) {
        read::document(document, directory, cases, &mut report);
    }
    report.finish()
}

#[cfg(test)]
mod tests;
