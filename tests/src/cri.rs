//! The Container Runtime Interface, as a kubelet speaks it with containerd: gRPC calls, which have it call plugins.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::patience::patient;

/// As for podman.
const PATIENCE: Duration = Duration::from_mins(2);

/// A client of a container runtime.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
}

/// What a pod is asked to be.
#[derive(Clone, Debug, Default)]
pub struct Pod<'a> {
    /// Its name. The namespace is `shop`.
    pub name: &'a str,
    /// Ports of the host and the container's TCP ports that these lead to.
    pub ports: &'a [(u16, u16)],
    /// Annotations, as those that limit bandwidth.
    pub annotations: &'a [(&'a str, &'a str)],
}

/// A pod that runs, or ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's name for it.
    pub id: String,
    /// Its addresses, as the runtime tells them.
    pub addresses: Vec<String>,
    /// The process that keeps its namespaces; 0 when it has ended.
    pub pid: u32,
}

impl Cri {
    /// Connects to the socket at `path`, and waits until the runtime answers.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let channel = {
            let _inside = runtime.enter();
            Endpoint::try_from(format!("unix://{}", path.display()))?.timeout(PATIENCE).connect_lazy()
        };
        let cri = Self { runtime, channel };
        // Its server listens before what it serves is there.
        let deadline = Instant::now() + patient(PATIENCE);
        while let Err(error) = cri.network() {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(cri)
    }

    /// Whether the runtime has a network for pods; else what it says of it.
    pub fn network(&self) -> Result<Result<(), String>> {
        let answer: StatusResponse = self.call("Status", Empty {})?;
        let conditions = answer.status.context("no status")?.conditions;
        let network = conditions.into_iter().find(|condition| condition.kind == "NetworkReady");
        let network = network.context("nothing is said of the network")?;
        Ok(if network.status { Ok(()) } else { Err(network.message) })
    }

    /// Starts a pod.
    pub fn run(&self, pod: &Pod<'_>, cgroup: &str) -> Result<Sandbox> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let metadata = PodSandboxMetadata {
            name: pod.name.to_owned(),
            uid: format!("uid-{}", pod.name),
            namespace: "shop".to_owned(),
            attempt: 0,
        };
        let port = |(host, container): &(u16, u16)| PortMapping {
            protocol: 0,
            container_port: i32::from(*container),
            host_port: i32::from(*host),
            host_ip: String::new(),
        };
        let config = PodSandboxConfig {
            metadata: Some(metadata),
            hostname: pod.name.to_owned(),
            port_mappings: pod.ports.iter().map(port).collect(),
            annotations: pod.annotations.iter().map(owned).collect(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: cgroup.to_owned() }),
        };
        let request = RunPodSandboxRequest { config: Some(config) };
        let PodSandboxId { id } = self.call("RunPodSandbox", request)?;
        self.sandbox(&id)
    }

    /// What there is of a pod.
    pub fn sandbox(&self, id: &str) -> Result<Sandbox> {
        let request = PodSandboxStatusRequest { id: id.to_owned(), verbose: true };
        let PodSandboxStatusResponse { status, info } = self.call("PodSandboxStatus", request)?;
        let network = status.context("no status")?.network.unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|more| more.ip);
        let info: serde_json::Value = serde_json::from_str(info.get("info").context("no info")?)?;
        let pid = info.get("pid").and_then(serde_json::Value::as_u64).context("no pid")?;
        let addresses = [network.ip].into_iter().chain(more).collect();
        Ok(Sandbox { id: id.to_owned(), addresses, pid: pid.try_into()? })
    }

    /// Ends what runs in a pod, and has its interface removed.
    pub fn stop(&self, id: &str) -> Result<()> {
        self.call("StopPodSandbox", PodSandboxId { id: id.to_owned() }).map(|Empty {}| ())
    }

    /// Removes what is left of a pod.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.call("RemovePodSandbox", PodSandboxId { id: id.to_owned() }).map(|Empty {}| ())
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path: PathAndQuery = format!("/runtime.v1.RuntimeService/{method}").parse()?;
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.with_context(|| format!("connect for {method}"))?;
            match grpc.unary(Request::new(request), path, ProstCodec::default()).await {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) => bail!("{method}: {}", status.message()),
            }
        })
    }
}

// What is used here of `api.proto` of `k8s.io/cri-api`, version `runtime.v1`.

#[derive(Clone, Copy, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PortMapping {
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(int32, tag = "2")]
    container_port: i32,
    #[prost(int32, tag = "3")]
    host_port: i32,
    #[prost(string, tag = "4")]
    host_ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(message, repeated, tag = "5")]
    port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

/// The answer to `RunPodSandbox`, and what `StopPodSandbox` and `RemovePodSandbox` are asked.
#[derive(Clone, PartialEq, Message)]
struct PodSandboxId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}
