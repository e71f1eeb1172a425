//! What container runtimes have attached.

use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, Name, Network};

/// What a container runtime tells attachments apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The network.
    pub network: Name,
    /// The container's id: a letter or digit, then letters, digits, `_`, `.` and `-`.
    pub container: String,
    /// The name of the device inside the container.
    pub ifname: String,
}

/// What a container runtime has asked for: one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// What it is told apart by.
    pub key: AttachmentKey,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its network, which may be defined by such attachments only.
    pub network: Network,
}
