//! The only user of the state files.
