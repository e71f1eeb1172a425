//! Work that needs a process of its own: the test binary starts itself with one ignored test and a task.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};

use super::super::{Netlink, Netns, enter_and_exec};
use super::namespace;

const TASK: &str = "NETFAST_TEST_TASK";

/// A command that performs `task` in a new process.
pub(super) fn child(task: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "net::tests::child::perform", "--ignored", "--nocapture", "--test-threads=1"])
        .env(TASK, task.join("\n"))
        .stdin(Stdio::null());
    command
}

#[test]
#[ignore = "started by other tests, in a process of its own"]
fn perform() {
    let Ok(task) = env::var(TASK) else { return };
    let words: Vec<_> = task.split('\n').collect();
    match words.as_slice() {
        ["exec", netns, hosts, resolv, argv @ ..] => {
            let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
            let error =
                enter_and_exec(&PathBuf::from(netns), &PathBuf::from(hosts), &PathBuf::from(resolv), &argv);
            println!("{error}");
            std::process::exit(error.exit_code().into());
        }
        ["churn", path] => loop {
            Netns::create(&PathBuf::from(path)).unwrap();
            Netns::remove(&PathBuf::from(path)).unwrap();
        },
        // As a process does that was started with `SIGCHLD` ignored: what it starts leaves nothing behind that tells of its end.
        ["remove", index] => {
            // SAFETY: the signal gets no handler.
            unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();
            let removed = Netlink::open(&namespace()).unwrap().delete_link_soon(index.parse().unwrap());
            println!("removed: {removed:?}");
        }
        other => panic!("{other:?}"),
    }
}
