//! Failures as the protocol knows them: a number, a sentence, and details.

use std::io;

use serde::{Deserialize, Serialize};

use super::version;
use crate::manifest::Diagnostics;
use crate::net;
use crate::store::StoreError;

/// What the specification has a number for, and from 100 on what it leaves to plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    /// The configuration is of a version that is not spoken, or that does not know the command.
    Version = 1,
    /// A field of the configuration asks for what is not supported.
    Unsupported = 2,
    /// There is no such container.
    UnknownContainer = 3,
    /// An environment variable is missing or wrong.
    Environment = 4,
    /// A file cannot be read or written.
    Io = 5,
    /// What came on standard input is no JSON, or of the wrong shape.
    Decode = 6,
    /// The configuration contradicts itself, or what is there.
    Config = 7,
    /// The network namespace is not one that a container can have.
    Netns = 8,
    /// Somebody else is at work.
    TryLater = 11,
    /// No container can be added.
    NotAvailable = 50,
    /// No container can be added, and those that are there are not well served.
    Limited = 51,
    /// What netfast was asked for cannot be done.
    Failed = 100,
    /// What was made is not there, or not as it was made.
    Check = 101,
    /// A fault of netfast's.
    Internal = 999,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The number; another plugin may have given one that is not in [`Code`].
    pub code: u32,
    /// What failed, and why.
    pub msg: String,
    /// What to try, or what else is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// Result of a step of a call.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What stands on standard output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    cni_version: &'a str,
    #[serde(flatten)]
    failure: &'a Failure,
}

impl Failure {
    pub(super) fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code: code as u32, msg: msg.into(), details: String::new() }
    }

    /// The same with what to try.
    pub(super) fn details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// As it is printed in answer to a configuration of that version.
    pub(super) fn to_json(&self, cni_version: &str) -> String {
        let cni_version = if cni_version.is_empty() { version::NEWEST } else { cni_version };
        let printed = Printed { cni_version, failure: self };
        // Strings and a number always have a JSON form.
        serde_json::to_string(&printed).unwrap_or_default()
    }
}

/// What the core says. Its errors have the advice in the sentence.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let code = error.chain().find_map(code_of).unwrap_or(Code::Failed);
        Self::new(code, one_line(&error))
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, " ({})", self.details) }
    }
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return match error {
            StoreError::Locked { .. } => Some(Code::TryLater),
            StoreError::File { .. } | StoreError::Corrupt { .. } | StoreError::Schema { .. } => {
                Some(Code::Io)
            }
            StoreError::Encode { .. } => Some(Code::Internal),
            StoreError::Exhausted { .. } => Some(Code::Failed),
        };
    }
    if let Some(net::Error::Panicked(_)) = cause.downcast_ref() {
        return Some(Code::Internal);
    }
    if let Some(net::PairError::NoDevice(_) | net::PairError::NotVeth { .. } | net::PairError::Elsewhere(_)) =
        cause.downcast_ref()
    {
        return Some(Code::Config);
    }
    // The disk of the state files, or of the files that containers see.
    if cause.downcast_ref::<io::Error>().is_some_and(|e| no_room(e.kind())) {
        return Some(Code::Io);
    }
    cause.downcast_ref::<Diagnostics>().map(|_| Code::Config)
}

const fn no_room(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// All causes in one sentence, none of them twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn it_is_printed_with_the_version_of_the_configuration() {
        let failure = Failure::new(Code::Config, "name is missing");
        assert_eq!(failure.to_json("0.4.0"), r#"{"cniVersion":"0.4.0","code":7,"msg":"name is missing"}"#);
        assert_eq!(
            failure.details("give one").to_json(""),
            r#"{"cniVersion":"1.1.0","code":7,"msg":"name is missing","details":"give one"}"#
        );
    }

    #[test]
    fn what_the_core_says_finds_its_number() {
        let locked = StoreError::Locked {
            path: "/run/netfast/lock".into(),
            holder: "process 7".to_owned(),
            waited: Duration::from_secs(30),
        };
        let error = anyhow::Error::from(locked).context("attach");
        assert_eq!(Failure::from(error).code, 11);
        let error = Err::<(), _>(anyhow!("no address is free")).context("attach").unwrap_err();
        assert_eq!(Failure::from(error), Failure::new(Code::Failed, "attach: no address is free"));
        let given = Failure::new(Code::Unsupported, "sctp");
        assert_eq!(Failure::from(anyhow::Error::from(given.clone())), given);
    }
}
