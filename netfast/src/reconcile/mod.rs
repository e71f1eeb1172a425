//! Desired against actual rows, as ordered operations; apply; roll back.
