//! The faces: command line and CNI. Each translates; none decides.

pub mod cli;
pub mod cni;
mod log;
mod policy_directory;
