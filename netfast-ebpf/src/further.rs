//! Addresses of an endpoint besides the first of each family, which stand in its row.

use core::hint::cold_path;

use netfast_common::addr::Addr;
use netfast_common::rows::{ENDPOINT_MORE, EndpointRow, SourceKey};

use crate::policy;
use crate::world::World;

/// Whether an endpoint has an address that does not stand in its row.
#[inline(always)]
pub(crate) fn has<W: World>(world: &W, endpoint: &EndpointRow, addr: &Addr) -> bool {
    cold_path();
    endpoint.flags & ENDPOINT_MORE != 0 && is_known(world, endpoint.incarnation, addr)
}

/// A function of its own in BPF: few endpoints have such addresses. The trie tells whose an address is by its key, so it does not
/// matter who gets the memory of a row that goes.
#[inline(never)]
fn is_known<W: World>(world: &W, incarnation: u32, addr: &Addr) -> bool {
    world.is_source(&SourceKey::further(incarnation, *addr))
}

/// The class of an address of an endpoint that has more than those of its row; `first`: that of the first one of its family. A
/// function of its own in BPF, which must not need much of the stack.
#[inline(never)]
pub(crate) fn identity<W: World>(
    world: &W,
    endpoint: &EndpointRow,
    generation: u32,
    addr: Addr,
    first: u32,
) -> u32 {
    let own = if addr.is_v4() { endpoint.ip4 } else { endpoint.ip6 };
    if addr == own { first } else { policy::identity_of_prefix(world, generation, &addr) }
}
