//! The CNI plugin: what container runtimes call to attach containers.
//!
//! A call is a process: environment variables say what is asked for, standard input has the configuration, and standard
//! output gets one JSON document or nothing. Everything that is told besides goes to standard error. What an attachment
//! is, and how it comes about, the core knows ([`crate::reconcile::attachments`]); this is the protocol.

mod add;
mod address_sets;
mod addressing;
mod args;
mod bandwidth;
mod call;
mod chained;
mod check;
mod config;
mod del;
mod delegate;
mod environment;
mod failure;
mod gc;
mod identity;
mod network;
mod policies;
mod ports;
mod resolver;
mod result;
mod spelling;
mod status;
mod version;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::panic;
use std::path::Path;
use std::process::ExitCode;

use self::call::Call;
use self::config::Config;
use self::environment::{COMMAND, Command, Environment};
use self::failure::{Code, Failure, Result};
use super::log;

/// The name under which the binary is nothing but the plugin.
const NAME: &str = "netfast-cni";

/// Whether this process was started as a plugin: under the plugin's name, or as a runtime does it, with a command in the
/// environment and no arguments.
pub fn is_meant() -> bool {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    is_plugin(&name, arguments.next().is_some(), env::var_os(COMMAND).is_some())
}

fn is_plugin(name: &OsStr, has_arguments: bool, has_command: bool) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(NAME)) || (has_command && !has_arguments)
}

/// Answers the call that the process was started for.
pub fn main() -> ExitCode {
    if env::var_os(COMMAND).is_none_or(|command| command.is_empty()) {
        let about = format!(
            "{NAME} {}: the CNI plugin of netfast, called by container runtimes\nCNI versions: {}\n",
            env!("CARGO_PKG_VERSION"),
            version::SUPPORTED.join(", ")
        );
        // Nobody is left to tell where that fails, here and below.
        drop(io::stderr().write_all(about.as_bytes()));
        return ExitCode::SUCCESS;
    }
    log::start(0);
    // The answer is JSON also where netfast is at fault.
    let (answer, code, made) = match panic::catch_unwind(answer) {
        Ok(Ok((answer, made))) => (answer, ExitCode::SUCCESS, made),
        Ok(Err((failure, version))) => (failure.to_json(&version), ExitCode::FAILURE, None),
        Err(_panic) => {
            let failure = Failure::new(
                Code::Internal,
                "netfast panicked (this is a mistake in netfast; standard error has more)",
            );
            (failure.to_json(""), ExitCode::FAILURE, None)
        }
    };
    if answer.is_empty() {
        return code;
    }
    let Err(error) = print(&answer) else { return code };
    // Nobody is told on standard output any more.
    tracing::error!(%error, "the answer cannot be written to standard output");
    if let Some(call) = made {
        // The runtime does not know of it, and may not ask for its removal.
        if let Err(failure) = del::del(&call) {
            tracing::error!("what was added stays: {failure}");
        }
    }
    ExitCode::FAILURE
}

fn print(answer: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(answer.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// What is printed, and the call that added something; or the failure and the version it is printed in.
fn answer() -> Result<(String, Option<Call>), (Failure, String)> {
    let environment = Environment::read().map_err(|failure| (failure, String::new()))?;
    let mut input = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut input);
    let text = String::from_utf8_lossy(&input);
    if environment.command == Command::Version {
        return Ok((version::answer(&text).to_string(), None));
    }
    let answer = match read {
        Ok(_) => carry_out(environment, &text),
        Err(e) => {
            Err(Failure::new(Code::Io, format!("cannot read the configuration on standard input: {e}")))
        }
    };
    answer.map_err(|failure| (failure, Config::version_of(&text)))
}

fn carry_out(environment: Environment, text: &str) -> Result<(String, Option<Call>)> {
    let config = Config::parse(text)?;
    config.version.check(environment.command)?;
    let call = Call { environment, config };
    match call.environment.command {
        Command::Add => return add::add(&call).map(|answer| (answer, Some(call))),
        Command::Version => return Ok((version::answer(text).to_string(), None)),
        Command::Del => del::del(&call)?,
        Command::Check => check::check(&call)?,
        Command::Gc => gc::gc(&call)?,
        Command::Status => status::status(&call)?,
    }
    Ok((String::new(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_told_from_the_command_line() {
        let is = |name: &str, arguments, command| is_plugin(OsStr::new(name), arguments, command);
        assert!(is("/opt/cni/bin/netfast", false, true));
        assert!(is("/opt/cni/bin/netfast-cni", false, false));
        assert!(is("netfast-cni", true, false));
        assert!(!is("netfast", false, false));
        // `netfast status` in a shell whose environment a runtime has set.
        assert!(!is("netfast", true, true));
    }
}
