//! What programs built with the feature `log` say of each verdict.

use std::thread;
use std::time::Duration;

use aya_log::EbpfLogger;

use super::{Datapath, Hook};

/// Hands on what the programs of the devices log, for as long as the process runs.
pub fn follow(datapath: &Datapath) {
    let Ok(programs) = datapath.programs() else { return };
    // They share one ring buffer, of which there may be one reader.
    let Some(program) = programs.into_iter().find(|p| p.name == Hook::EndpointIngress.program()) else {
        return;
    };
    match EbpfLogger::init_from_id(program.id) {
        Ok(mut logger) => {
            thread::spawn(move || {
                loop {
                    logger.flush();
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
        Err(error) => tracing::warn!(%error, "the programs' log cannot be read"),
    }
}
