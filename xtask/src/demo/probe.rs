//! The probes: who tries to reach what, what should come of it, and what did.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use netfast_tests::{HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6};

use crate::demo::endpoint::Endpoint;
use crate::demo::http;
use crate::demo::interrupt::Interrupt;

/// The port that the example publishes for `web`.
const PUBLISHED: u16 = 8080;

/// Long enough for a lost first packet to be sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Long enough to tell that nothing comes.
const SILENCE: Duration = Duration::from_millis(500);

/// One line of the result.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) what: String,
    pub(crate) verdict: String,
    pub(crate) detail: String,
    pub(crate) good: bool,
}

/// Tries everything, in the order in which it is shown.
pub(crate) fn all(
    lab: &Lab,
    web: &Endpoint,
    client: &Endpoint,
    stranger: &Endpoint,
    interrupt: &Interrupt,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (host, outside) in [(HOST_V4, OUTSIDE_V4), (HOST_V6, OUTSIDE_V6)] {
        let to = at(host.parse()?, PUBLISHED);
        rows.push(answered(&lab.outside, &to, "published port", "web", Some(outside)));
        interrupt.check()?;
    }
    let loopback = format!("127.0.0.1:{PUBLISHED}");
    rows.push(answered(&lab.host, &loopback, "published port, from the host itself", "web", None));
    for to in &web.addresses {
        interrupt.check()?;
        let own = client.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4()).map(ToString::to_string);
        rows.push(answered(&client.ns, &at(*to, 80), "a policy lets it in", "web", own.as_deref()));
    }
    for to in &web.addresses {
        interrupt.check()?;
        rows.push(denied(lab, &stranger.ns, *to, "no policy lets it in", &[web, stranger], true)?);
    }
    for (outside, host) in [(OUTSIDE_V4, HOST_V4), (OUTSIDE_V6, HOST_V6)] {
        interrupt.check()?;
        let to = at(outside.parse()?, 80);
        rows.push(answered(&client.ns, &to, "masqueraded", "outside", Some(host)));
    }
    for to in &web.addresses {
        interrupt.check()?;
        rows.push(denied(lab, &lab.outside, *to, "its own address, not published", &[web], false)?);
    }
    Ok(rows)
}

/// A request that should be answered by `by`, which should see `source` (or, if none is given, anybody).
fn answered(from: &Ns, to: &str, what: &str, by: &str, source: Option<&str>) -> Row {
    let (verdict, detail, good) = match http::get(from, to, ANSWER_WITHIN) {
        Ok(answer) => {
            let right = answer.by == by && source.is_none_or(|source| source == answer.sees);
            let detail = format!("by {}, which sees {}", answer.by, answer.sees);
            let detail = if right {
                detail
            } else {
                format!("{detail} (expected {by}, which sees {})", source.unwrap_or("anybody"))
            };
            ("answered", detail, right)
        }
        Err(error) => ("no answer", error.to_string(), false),
    };
    Row {
        from: from.name().to_owned(),
        to: to.to_owned(),
        what: what.to_owned(),
        verdict: verdict.to_owned(),
        detail,
        good,
    }
}

/// A request to port 80 of `to` that must not be answered. Those of `counting` may have counted the drop;
/// `by_policy` says that a policy of the first must be the reason.
fn denied(
    lab: &Lab,
    from: &Ns,
    to: IpAddr,
    what: &str,
    counting: &[&Endpoint],
    by_policy: bool,
) -> Result<Row> {
    let before = counting.iter().map(|endpoint| lab.drops(&endpoint.name)).collect::<Result<Vec<_>>>()?;
    let to = at(to, 80);
    let result = http::get(from, &to, SILENCE);
    let mut detail = Vec::new();
    let mut policy_counted = false;
    for (endpoint, before) in counting.iter().zip(&before) {
        for (reason, count) in lab.drops(&endpoint.name)? {
            if reason == "multicast" {
                // What hosts send by themselves when their devices come up.
                continue;
            }
            let more = count.saturating_sub(before.get(&reason).copied().unwrap_or(0));
            if more > 0 {
                policy_counted |= reason == "policy_ingress";
                detail.push(format!("{reason} +{more} at {}", endpoint.name));
            }
        }
    }
    let mut good = result.is_err();
    if by_policy && let Some(receiver) = counting.first() {
        let policies = receiver.isolating(lab, "ingress")?;
        good &= policy_counted && !policies.is_empty();
        detail.push(format!(
            "isolated by {}",
            if policies.is_empty() { "nothing".to_owned() } else { policies.join(", ") }
        ));
    }
    let verdict = match result {
        Ok(answer) => {
            detail.insert(0, format!("by {}, which sees {}", answer.by, answer.sees));
            "answered"
        }
        Err(_) => "denied",
    };
    if by_policy && !policy_counted {
        detail.push("but no drop for a policy was counted".to_owned());
    }
    Ok(Row {
        from: from.name().to_owned(),
        to,
        what: what.to_owned(),
        verdict: verdict.to_owned(),
        detail: detail.join(", "),
        good,
    })
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}
