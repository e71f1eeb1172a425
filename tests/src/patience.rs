//! How long tests wait, on machines that are slower than others.

use std::sync::LazyLock;
use std::time::Duration;

/// `limit`, times what `NETFAST_TEST_PATIENCE` says: in an emulated machine everything takes longer.
pub(crate) fn patient(limit: Duration) -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        std::env::var("NETFAST_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
    });
    limit.saturating_mul(*FACTOR)
}
