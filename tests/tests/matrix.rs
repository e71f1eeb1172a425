//! Every path a packet can take, by each family and protocol, without policies, allowed by them, and denied by them.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use netfast_tests::{Protocol, Way, Ways, asker, require_root};

/// How long a packet that is to be dropped is waited for.
const SHORT: Duration = Duration::from_millis(150);

/// Everybody may do by rules what they may do without any.
const ALLOW: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: &peers
  - from: &who
    - podSelector: {}
    - ipBlock: {cidr: 192.0.2.0/24}
    - ipBlock: {cidr: '2001:db8:99::/64'}
    - ipBlock: {cidr: 10.77.0.1/32}
    - ipBlock: {cidr: 'fd77::1/128'}
  egress:
  - to: *who
";

fn nothing(direction: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: nothing}}
spec: {{podSelector: {{}}, policyTypes: [{direction}]}}
"
    )
}

/// Goes all ways. `denied`: by which of [`Way::denied`] they are dropped, and for what reason.
#[track_caller]
fn check(policy: Option<&str>, denied: Option<(usize, &str)>) {
    let ways = Ways::new(policy).unwrap();
    ways.all(|way, family, protocol| match denied {
        None => ways.reaches(way, family, protocol),
        Some((by, reason)) => match way.denied[by] {
            Some(who) => is_dropped(&ways, way, family, protocol, (who, reason)),
            None => ways.reaches(way, family, protocol),
        },
    })
    .unwrap();
}

fn is_dropped(
    ways: &Ways,
    way: &Way,
    family: usize,
    protocol: Protocol,
    (denier, reason): (&str, &str),
) -> Result<()> {
    let ear = ways.listen(way)?;
    let before = ways.lab.drops(denier)?;
    if let Ok(seen) = ways.ask(way, family, protocol, SHORT) {
        bail!("answered to {seen}");
    }
    let arrived = ear.find(Duration::ZERO, |packet| asker(packet, protocol).is_some());
    ensure!(arrived.is_none(), "it arrived");
    let mut after = ways.lab.drops(denier)?;
    // Reports of multicast groups, by which an endpoint's kernel interrupts at any time.
    after.remove("multicast");
    after.retain(|reason, count| before.get(reason).unwrap_or(&0) < count);
    ensure!(after.keys().eq([reason]), "{denier} counted {after:?}");
    Ok(())
}

#[test]
fn without_policies() {
    require_root!();
    check(None, None);
}

#[test]
fn allowed_by_policies() {
    require_root!();
    check(Some(ALLOW), None);
}

#[test]
fn nobody_may_receive() {
    require_root!();
    check(Some(&nothing("Ingress")), Some((0, "policy_ingress")));
}

#[test]
fn nobody_may_send() {
    require_root!();
    check(Some(&nothing("Egress")), Some((1, "policy_egress")));
}
