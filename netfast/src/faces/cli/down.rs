//! `netfast down`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{output, root};
use crate::reconcile::instance::{Instance, Options};

/// Take the network down, and leave nothing behind.
///
/// Endpoints added by command and the deny list go too. Where nothing is up, nothing happens.
#[derive(Args, Debug)]
pub(super) struct Down {}

impl Down {
    #[expect(clippy::unused_self, reason = "as all commands")]
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        take_down(options)
    }
}

/// Takes an instance down, and tells what that was.
pub(super) fn take_down(options: &Options) -> Result<ExitCode> {
    let removed = Instance::open_to_remove(options)?.down()?;
    output::line(&told(&removed))?;
    Ok(ExitCode::SUCCESS)
}

fn told(removed: &[String]) -> String {
    match removed {
        [] => "nothing was up".to_owned(),
        removed => format!("removed {}", removed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_in_one_line() {
        assert_eq!(told(&[]), "nothing was up");
        assert_eq!(
            told(&["2 endpoints".to_owned(), "network lab".to_owned()]),
            "removed 2 endpoints, network lab"
        );
    }
}
