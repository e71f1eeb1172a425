//! The only user of aya: loads and pins the programs, attaches them, reads and writes the maps.
