//! Programs that the tests and the demo call.

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::find_program;

pub(crate) fn ensure() -> Result<bool> {
    if find_program("ip").is_some() {
        return Ok(false);
    }
    apt::install(&["iproute2"], "`ip` builds the networks that the tests and the demo run in")?;
    Ok(true)
}
