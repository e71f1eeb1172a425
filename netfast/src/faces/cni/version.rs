//! The versions of the specification that are spoken, and which of them has what.

use serde_json::{Value, json};

use super::config::Config;
use super::environment::Command;
use super::failure::{Code, Failure, Result};

/// The versions, oldest first.
pub(super) const SUPPORTED: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The newest of them.
pub(super) const NEWEST: &str = "1.1.0";

/// The version of a configuration that says none.
const UNSAID: &str = "0.1.0";

/// A version that is spoken. They are ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(usize);

impl Version {
    /// Reads what a configuration says.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { UNSAID } else { text };
        SUPPORTED.iter().position(|version| *version == text).map(Self).ok_or_else(|| {
            let supported = SUPPORTED.join(", ");
            Failure::new(
                Code::Version,
                format!("the configuration has CNI version {text:?}, netfast speaks {supported}"),
            )
            .details(format!("config is {text:?}, plugin supports [{supported}]"))
        })
    }

    /// As it is written.
    pub(super) const fn text(self) -> &'static str {
        SUPPORTED[self.0]
    }

    /// Whether it has what came with another one.
    pub(super) fn has(self, since: &str) -> bool {
        SUPPORTED.iter().position(|version| *version == since).is_some_and(|since| self.0 >= since)
    }

    /// Refuses a command that the version does not know.
    pub(super) fn check(self, command: Command) -> Result<()> {
        let since = match command {
            Command::Add | Command::Del | Command::Version => return Ok(()),
            Command::Check => "0.4.0",
            Command::Gc | Command::Status => NEWEST,
        };
        if self.has(since) {
            return Ok(());
        }
        Err(Failure::new(
            Code::Version,
            format!(
                "{} came with CNI version {since}, and the configuration has {}",
                command.name(),
                self.text()
            ),
        ))
    }
}

/// The answer to `VERSION`. A version that is asked in is answered in; everything else in the input is junk.
pub(super) fn answer(input: &str) -> Value {
    let asked = Config::version_of(input);
    let echoed = if asked.is_empty() { NEWEST } else { &asked };
    json!({"cniVersion": echoed, "supportedVersions": SUPPORTED})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_spoken_is_accepted() {
        for version in SUPPORTED {
            assert_eq!(Version::parse(version).unwrap().text(), version);
        }
        for version in ["", "0.1.0", "0.2.0", "0.3.0", "1.2.0", "1"] {
            let failure = Version::parse(version).unwrap_err();
            assert_eq!(failure.code, 1, "{version}");
        }
        assert_eq!(
            Version::parse("0.2.0").unwrap_err().msg,
            "the configuration has CNI version \"0.2.0\", netfast speaks 0.3.1, 0.4.0, 1.0.0, 1.1.0"
        );
    }

    #[test]
    fn old_versions_do_not_know_new_commands() {
        let allows = |version: &str, command| Version::parse(version).unwrap().check(command).is_ok();
        assert!(allows("0.3.1", Command::Add) && allows("0.3.1", Command::Del));
        assert!(!allows("0.3.1", Command::Check) && allows("0.4.0", Command::Check));
        for command in [Command::Gc, Command::Status] {
            assert!(!allows("1.0.0", command) && allows("1.1.0", command));
        }
    }

    #[test]
    fn junk_does_not_keep_the_versions_from_being_told() {
        for (input, echoed) in [
            ("", "1.1.0"),
            ("no JSON", "1.1.0"),
            ("[]", "1.1.0"),
            (r#"{"cniVersion": "0.4.0"}"#, "0.4.0"),
            (r#"{"CNIVersion": "0.4.0"}"#, "0.4.0"),
            (r#"{"cniVersion": "9.9.9"}"#, "9.9.9"),
        ] {
            let answer = answer(input);
            assert_eq!(answer["cniVersion"], echoed, "{input}");
            assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 4);
        }
    }
}
