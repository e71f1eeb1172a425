//! Turning this process into a command inside an endpoint.

use std::ffi::CString;
use std::io;
use std::path::Path;

use nix::libc;
use nix::unistd::execvp;

use super::Error;
use super::enter::{Entrance, default_action};

/// Why a process did not become a command.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It did not get into the endpoint. Part of the way may have been made.
    #[error(transparent)]
    Enter(#[from] Error),
    /// The command cannot be executed.
    #[error("execute {command}: {source}")]
    Command {
        /// The command.
        command: String,
        /// Why not.
        source: io::Error,
    },
}

impl ExecError {
    /// The exit code shells use: 127 for a command that is not found, 126 for one that cannot be executed; otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            Self::Enter(_) => 1,
        }
    }
}

/// Replaces the process by a command inside an endpoint: in its network namespace, with its own `/etc/hosts` and
/// `/etc/resolv.conf`. Returns only if that fails. Nothing is forked, so that standard streams, signals and the exit
/// code are the command's own.
pub fn enter_and_exec(netns: &Path, hosts: &Path, resolv: &Path, argv: &[String]) -> ExecError {
    let refused = |source| ExecError::Command { command: argv.first().cloned().unwrap_or_default(), source };
    let arguments: Result<Vec<_>, _> = argv.iter().map(|argument| CString::new(argument.as_str())).collect();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(nul) => return refused(nul.into()),
    };
    let Some(command) = arguments.first() else {
        return refused(io::ErrorKind::InvalidInput.into());
    };
    let entered = Entrance::prepare(netns, hosts, resolv).and_then(|entrance| {
        entrance.enter().map_err(|errno| Error::system("enter endpoint", netns.display(), errno))
    });
    match entered {
        Ok(()) => {
            // Rust ignores it from the start, and what is ignored stays so in the command.
            default_action(libc::SIGPIPE);
            let Err(errno) = execvp(command, &arguments);
            refused(errno.into())
        }
        Err(error) => error.into(),
    }
}
