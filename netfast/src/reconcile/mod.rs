//! Desired against actual, as ordered operations; apply; roll back.

pub mod view;
