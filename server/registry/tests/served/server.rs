//! A registry in a temporary directory behind a real socket, for tests that look at it from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use shoal_api::Leases;
use shoal_http::{Limits, Listener, Shutdown};
use shoal_metadata::Embedded;
use shoal_registry::{Registry, RegistryOptions};
use shoal_store::{Options, Store};
use shoal_tags::LocalTags;
use shoal_telemetry::RegistryMetrics;
use tempfile::TempDir;

/// A running registry. It ends with the test's runtime.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// Where the registry keeps everything; removed with this.
    pub(crate) directory: TempDir,
}

impl Served {
    pub(crate) async fn start(options: RegistryOptions, limits: Limits) -> Self {
        // A store makes 512 directories, which costs a disk half a second and memory a few milliseconds.
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (store, _) = Store::open(&directory.path().join("store"), Options::durable()).unwrap();
        let tags = LocalTags::new(Embedded::open(&directory.path().join("metadata")).unwrap());
        let registry =
            Registry::new(store, Arc::new(tags), Leases::new(), RegistryMetrics::default(), options);
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Arc::new(registry), limits, Shutdown::new()));
        Self { address, directory }
    }
}
