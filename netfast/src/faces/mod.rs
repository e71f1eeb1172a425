//! The faces: command line and, later, CNI. Each translates; none decides.

pub mod cli;
