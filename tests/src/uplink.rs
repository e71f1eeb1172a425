//! What a host may have beyond its one uplink: a second one, and a world farther away.

use anyhow::Result;

use crate::lab::Lab;
use crate::ns::Ns;

/// The host's addresses on a second uplink, and those of the world behind it.
pub const SECOND: Addresses =
    Addresses { host: ["198.51.100.1", "2001:db8:98::1"], outside: ["198.51.100.2", "2001:db8:98::2"] };

/// The addresses of a host farther away, IPv4 and IPv6.
pub const FAR: [&str; 2] = ["198.51.100.2", "2001:db8:51::2"];
/// The addresses of the router before it, on the wire between the two.
pub const FAR_ROUTER: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];

/// Addresses of both ends of an uplink, IPv4 and IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The host's.
    pub host: [&'static str; 2],
    /// The other end's.
    pub outside: [&'static str; 2],
}

impl Lab {
    /// Joins the host by `device` to another world outside, called `beyond`, with the addresses [`SECOND`]. The host
    /// has no routes to it but the on-link ones; the other way there are default routes.
    pub fn second_uplink(&self, device: &str) -> Result<Ns> {
        let beyond = Ns::new("beyond")?;
        self.host.join(device, &beyond, "eth0")?;
        for (ns, device, addresses) in [(&self.host, device, SECOND.host), (&beyond, "eth0", SECOND.outside)]
        {
            ns.address(device, &format!("{}/24", addresses[0]))?;
            ns.address(device, &format!("{}/64", addresses[1]))?;
        }
        beyond.ip(&format!("route add default via {}", SECOND.host[0]))?;
        beyond.ip(&format!("-6 route add default via {}", SECOND.host[1]))?;
        Ok(beyond)
    }

    /// Makes the world outside a router to a host farther away, called `far`, with the addresses [`FAR`]. The wire between
    /// them is the router's `eth1` and the host's `eth0`.
    pub fn far(&self) -> Result<Ns> {
        let far = Ns::new("far")?;
        self.outside.join("eth1", &far, "eth0")?;
        for (ns, device, [v4, v6]) in [(&self.outside, "eth1", FAR_ROUTER), (&far, "eth0", FAR)] {
            ns.address(device, &format!("{v4}/24"))?;
            ns.address(device, &format!("{v6}/64"))?;
        }
        far.ip(&format!("route add default via {}", FAR_ROUTER[0]))?;
        far.ip(&format!("-6 route add default via {}", FAR_ROUTER[1]))?;
        self.outside.forward()?;
        Ok(far)
    }
}

/// Waits until something holds, which it must within five seconds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let holds = (0..250).any(|n| {
        if n > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        holds()
    });
    assert!(holds, "waited in vain: {what}");
}
