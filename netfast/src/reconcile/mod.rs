//! Desired against actual, as ordered operations; apply; roll back.

mod adopt;
mod assign;
pub mod attachments;
mod check;
mod commands;
mod converge;
mod damage;
mod defrag;
pub mod doctor;
mod drift;
mod entries;
mod facts;
mod files;
pub mod flows;
mod forced;
mod host;
pub mod instance;
pub mod judge;
mod known;
mod ledger;
pub mod monitor;
mod numbers;
mod plan;
mod ports;
pub mod readiness;
mod rotation;
mod salvage;
#[cfg(test)]
mod scale_tests;
mod show;
mod single;
mod stale;
mod tables;
mod topology;
mod uplinks;
pub mod verify;
pub mod view;
