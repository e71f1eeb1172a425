//! The stages on the host: packets that are bytes, a world that is maps in memory, and a cast of hosts that send to
//! each other. What one stage puts out is what the next one gets, and every packet is checked by etherparse.

mod bytes;
mod cast;
#[cfg(fuzzing)]
pub mod fuzz;
mod invariants;
mod lab;
mod maps;
mod message;

#[cfg(test)]
mod adopted;
#[cfg(test)]
mod apart;
#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod crossing;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod fragments;
#[cfg(test)]
mod further;
#[cfg(test)]
mod guests;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod masquerade;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod nursery;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod published;
#[cfg(test)]
mod reopened;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod spoofing;
