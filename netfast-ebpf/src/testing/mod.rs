//! The stages on the host: packets that are bytes, a world that is maps in memory, and a cast of hosts that send to
//! each other. What one stage puts out is what the next one gets, and every packet is checked by etherparse.

mod arbitrary;
mod bytes;
mod cast;
mod corpus;
mod lab;
mod maps;
mod message;

mod errors;
mod forwarding;
mod fragments;
mod guests;
mod interleavings;
mod isolation;
mod lifetime;
mod malformed;
mod masquerade;
mod neighbours;
mod nursery;
mod policies;
mod properties;
mod published;
mod reports;
mod round_trips;
mod spoofing;
