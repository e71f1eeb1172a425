//! Files to the model: strict, with `file:line:column` for every complaint, and all complaints at once.
//!
//! Bytes become text (`file`), text becomes nodes with places (`yaml`), and readers over the nodes make the model
//! (`topology` for `netfast.yaml`, `policy` for Kubernetes manifests). Nothing is returned if anything is wrong.

pub mod cases;
mod diagnostic;
mod file;
mod labels;
mod lint;
mod load;
mod paths;
mod policy;
mod text;
mod topology;
mod yaml;

pub use self::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
pub use self::lint::lint;
pub use self::load::{Loaded, LoadedPolicies, Unread, load, load_policies, parse_policies, sources};
pub use self::paths::{expand, in_directory};
pub use self::text::label::parse_label;
pub use self::text::mac::parse_mac;
pub use self::text::port::parse_port;
pub use self::text::{TextError, cidr, name, netns, port, publish, words};

#[cfg(test)]
mod fuzz;
