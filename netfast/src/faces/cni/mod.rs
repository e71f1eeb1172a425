//! The CNI plugin: what container runtimes call to attach containers.
//!
//! A call is a process: environment variables say what is asked for, standard input has the configuration, and standard
//! output gets one JSON document or nothing. Everything that is told besides goes to standard error. What an attachment
//! is, and how it comes about, the core knows ([`crate::reconcile::attachments`]); this is the protocol.

mod args;
mod config;
mod environment;
mod failure;
mod result;
mod spelling;
mod version;
