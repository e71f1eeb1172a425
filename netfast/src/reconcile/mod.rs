//! Desired against actual, as ordered operations; apply; roll back.

mod assign;
mod commands;
mod converge;
pub mod doctor;
mod facts;
mod files;
mod host;
pub mod instance;
mod plan;
mod ports;
mod show;
mod tables;
mod topology;
mod uplinks;
pub mod view;
