//! Starts and stops real servers, agents and clients. Not shipped.
//!
//! The end-to-end tests, the demo and the benches share this harness, so that there is one place that knows how a cluster is
//! started and how a client behaves. It drives the programs from outside (command line, HTTP, signals, files) and imports no room
//! that they are made of, because a test that shares code with what it tests shares its mistakes; only the [`liar`] must. Longer
//! trials, with a seed and a journal of what was acknowledged, are [`drill`]s.
//!
//! Everything lives in temporary directories and on ports that the kernel chose; whatever was started is stopped on drop.

pub mod artifact;
pub mod buildah;
pub mod cluster;
pub mod containerd;
pub mod curl;
pub mod disk;
pub mod docker;
pub mod drill;
pub mod fixture;
pub mod liar;
pub mod machine;
pub mod matrix;
pub mod metrics;
pub mod mounts;
pub mod podman;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod pull;
pub mod push;
pub mod ready;
pub mod registry;
pub mod secured;
pub mod shoalctl;
pub mod skopeo;
pub mod supervised;
pub mod tool;
pub mod upstream;
pub mod valve;
pub mod wait;
pub mod wire;

pub use cluster::{Cluster, Node};
pub use containerd::Containerd;
pub use curl::Curl;
pub use docker::Docker;
pub use machine::Machine;
pub use metrics::Metrics;
pub use process::{Process, Program};
pub use pull::{PullReport, Puller};
pub use registry::Registry;
