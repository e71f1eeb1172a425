//! `bandwidth`: how fast packets may go to a container and from it.

use super::config::Bandwidth;
use super::failure::{Code, Failure, Result};
use crate::model::RateLimit;

/// Limits of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Into the container.
    pub ingress: Option<RateLimit>,
    /// Out of the container.
    pub egress: Option<RateLimit>,
}

/// The limits that are asked for. What bandwidth means to runtimes is counted in bits.
pub(super) fn limits(asked: Option<Bandwidth>) -> Result<Limits> {
    let Bandwidth { ingress_rate, ingress_burst, egress_rate, egress_burst } = asked.unwrap_or_default();
    Ok(Limits {
        ingress: limit("ingress", ingress_rate, ingress_burst)?,
        egress: limit("egress", egress_rate, egress_burst)?,
    })
}

fn limit(direction: &str, rate: u64, burst: u64) -> Result<Option<RateLimit>> {
    let wrong = |why: &str| Err(Failure::new(Code::Config, format!("bandwidth: {direction}{why}")));
    match (rate, burst) {
        (0, 0) => Ok(None),
        (0, _) => wrong("Burst without a rate"),
        (_, 0) => wrong("Rate without a burst"),
        (..8, _) => wrong("Rate is less than a byte a second"),
        (_, burst) => match u32::try_from(burst / 8) {
            Ok(burst) => Ok(Some(RateLimit { rate: rate / 8, burst })),
            Err(_) => wrong("Burst is more than four gigabytes"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    fn of(bandwidth: &str) -> Result<Limits> {
        let config = format!(r#","runtimeConfig": {{"bandwidth": {bandwidth}}}"#);
        limits(call(&[], &config).config.said.runtime_config.bandwidth)
    }

    #[test]
    fn bits_become_bytes() {
        let limits = of(r#"{"IngressRate": 8000000, "IngressBurst": 4294967295}"#).unwrap();
        assert_eq!(limits.ingress, Some(RateLimit { rate: 1_000_000, burst: 536_870_911 }));
        assert_eq!(limits.egress, None);
        assert_eq!(of("{}").unwrap(), Limits::default());
        assert_eq!(super::limits(None).unwrap(), Limits::default());
    }

    #[test]
    fn rate_and_burst_go_together() {
        for (bandwidth, message) in [
            (r#"{"ingressRate": 8000}"#, "bandwidth: ingressRate without a burst"),
            (r#"{"egressBurst": 8000}"#, "bandwidth: egressBurst without a rate"),
            (
                r#"{"egressRate": 7, "egressBurst": 8000}"#,
                "bandwidth: egressRate is less than a byte a second",
            ),
            (
                r#"{"egressRate": 8, "egressBurst": 34359738368}"#,
                "bandwidth: egressBurst is more than four gigabytes",
            ),
        ] {
            let failure = of(bandwidth).unwrap_err();
            assert_eq!((failure.code, failure.msg.as_str()), (7, message));
        }
    }
}
