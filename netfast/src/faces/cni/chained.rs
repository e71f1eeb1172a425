//! Calls after another plugin, which has made the interface.

use super::call::Call;
use super::failure::{Code, Failure, Result};

/// Attaches netfast to the interface that the plugins before it have made.
pub(super) fn add(_call: &Call) -> Result<String> {
    Err(Failure::new(Code::Unsupported, "prevResult: netfast does not work after another plugin yet")
        .details("let it be the first plugin of the list"))
}
