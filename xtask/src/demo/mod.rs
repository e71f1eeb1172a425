//! The demo: netfast on a host of its own, with real packets through it.
//!
//! The host, the world outside it and everything netfast makes live in private namespaces, directories and a
//! private cgroup. Nothing of the machine is touched and nothing stays, however the demo ends.

mod endpoint;
mod http;
mod interrupt;
mod look_around;
mod probe;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use netfast_tests::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6, Running};

use crate::{output, workspace};
use endpoint::Endpoint;
use interrupt::{Interrupt, Interrupted};

const MANIFEST: &str = "examples/quickstart/netfast.yaml";

/// Shows netfast. The exit code is 1 if a packet went where it should not, or did not go where it should.
pub(crate) fn run(binary: &Path, once: bool) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let lab = Lab::with_binary(binary).context("make a private host")?;
    let result = show(&lab, once, &interrupt);
    output::line("");
    output::dim("taking everything down");
    // Also after a failure: what was made must go, and what stands in its way is worth knowing.
    let down = lab.down();
    let (dir, cgroup) = (lab.dir().to_owned(), lab.cgroup().to_owned());
    drop(lab);
    if interrupt.pending() && matches!(&result, Err(error) if error.is::<Interrupted>()) {
        down?;
        return Ok(ExitCode::from(130));
    }
    let good = result?;
    down.context("take the network down")?;
    if let Some(left) = [dir, cgroup].iter().find(|path| path.exists()) {
        bail!("{} was left behind", left.display());
    }
    output::dim("nothing is left");
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(lab: &Lab, once: bool, interrupt: &Interrupt) -> Result<bool> {
    output::heading("A private host");
    output::line(&topology());
    let manifest = workspace::root().join(MANIFEST);
    output::heading(&format!("netfast up -f {MANIFEST} -d"));
    let text = lab.netfast_ok(&["up", "-f", &manifest.display().to_string(), "-d"])?;
    output::line(text.trim_end());
    interrupt.check()?;

    let endpoints = ["web", "client", "stranger"]
        .map(|name| Endpoint::find(lab, name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let [web, client, stranger] = endpoints.as_slice() else { bail!("the demo has three endpoints") };
    let _servers = serve(lab, web, interrupt)?;

    for args in [["port", "ls"].as_slice(), &["status"]] {
        output::line("");
        output::heading(&format!("netfast {}", args.join(" ")));
        output::line(lab.netfast_ok(args)?.trim_end());
        interrupt.check()?;
    }

    output::line("");
    output::heading("Real packets");
    let rows = probe::all(lab, web, client, stranger, interrupt)?;
    output::line(&table::render(&rows));
    let wrong = rows.iter().filter(|row| !row.good).count();
    if wrong > 0 {
        output::line(&output::bad(&format!("{wrong} of {} did not come out as they should", rows.len())));
    }
    if !once {
        output::line("");
        look_around::explain(lab, web)?;
        interrupt.wait();
    }
    Ok(wrong == 0)
}

/// A web server in the endpoint `web`, and one outside.
fn serve(lab: &Lab, web: &Endpoint, interrupt: &Interrupt) -> Result<[Running; 2]> {
    let this = std::env::current_exe().context("find this program")?.display().to_string();
    let inside =
        lab.start(&["exec", "web", "--", &this, "serve-http", "--name", "web", "--listen", "[::]:80"])?;
    let mut command = lab.outside.command(&this);
    let outside = Running::start(command.args(["serve-http", "--name", "outside", "--listen", "[::]:80"]))?;
    let mut servers = [inside, outside];
    for (server, ns) in servers.iter_mut().zip([&web.ns, &lab.outside]) {
        // It is asked from within its own namespace, where nothing can be in the way.
        for attempt in 0.. {
            interrupt.check()?;
            if http::get(ns, "[::1]:80", Duration::from_millis(100)).is_ok() {
                break;
            }
            if server.ended() || attempt == 100 {
                bail!("the web server in {} does not answer", ns.name());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(servers)
}

fn topology() -> String {
    format!(
        "  outside ({OUTSIDE_V4}, {OUTSIDE_V6})\n     |\n  uplink0 ({HOST_V4}, {HOST_V6})\n  host: a network \
         namespace of its own; this machine's network is not touched\n     |\n  netfast: web, client, stranger\n"
    )
}
