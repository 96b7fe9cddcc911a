//! What an operator can set for the registry role, with the reason for each default.

use std::time::Duration;

use shoal_auth::Guard;

/// Knobs of the registry role.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// The longest manifest in bytes, at most [`shoal_oci::MANIFEST_SIZE_MAX`]. The specification asks for at least 4 MiB.
    pub manifest_size_max: u64,
    /// An upload session that nobody has touched for this long is removed by [`crate::Registry::sweep`]. One day is longer than any
    /// client keeps a push alive, and short enough that abandoned pushes do not fill the disk.
    pub upload_idle_max: Duration,
    /// A client that sends no byte of a body for this long is given up: 60 s bridges a network hiccup that TCP itself
    /// survives. (Clients that do not *take* an answer are the listener's business.)
    pub body_stall_max: Duration,
    /// The fewest bytes a second of a body, over [`Self::body_stall_max`] of waiting for the client; slower ones are given up, so that a
    /// byte now and then does not hold a connection for ever. 1 KiB/s is a modem of 1990.
    pub body_rate_min: u64,
    /// The body of a manifest has this long in all. It is held in memory, so a client that sends a byte now and then must not keep it
    /// there: 60 s is 8 MiB at a megabit per second.
    pub manifest_time_max: Duration,
    /// Bytes of bodies that are held in memory for all requests together. A push at full speed holds 2 MiB; with 32 MiB, sixteen of them
    /// do not notice one another, and any number of them go on, only slower.
    pub upload_memory_max: u64,
    /// Bytes of blobs that are held in memory for all pulls together while they are read for the first time. What has been verified is
    /// sent from the file and needs none. A pull holds three reads of 256 KiB; of the largest blobs, three pieces of 4 MiB.
    pub read_memory_max: u64,
    /// Requests that change something, at once. A slow upload is one for as long as its body takes, hence the large number.
    pub pushes_max: usize,
    /// Requests that read, at once, each until its answer has begun.
    pub pulls_max: usize,
    /// How long a request waits for its turn, or for memory, before it is told to come again (503 with `Retry-After`). Clients give a
    /// request up after 30 to 60 s.
    pub wait_max: Duration,
    /// Whether manifests, tags and blobs can be deleted; when not, DELETE is answered 405.
    pub delete_enabled: bool,
    /// Whether a manifest may reference blobs and manifests that are not here. Off: such a manifest could not be pulled
    /// whole. On for mirrors that copy images in part.
    pub sparse_allowed: bool,
    /// The most entries in one page of tags, repositories or referrers, whatever `n` asks for, and as many as come when `n` is
    /// absent. 10,000 tags of usual length are some 200 KiB, and clients that ignore `Link` still see most repositories whole.
    pub page_entries_max: usize,
    /// Who may do what. Open: everybody everything.
    pub guard: Guard,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            manifest_size_max: shoal_oci::MANIFEST_SIZE_MAX,
            upload_idle_max: Duration::from_secs(24 * 60 * 60),
            body_stall_max: Duration::from_secs(60),
            body_rate_min: 1024,
            manifest_time_max: Duration::from_secs(60),
            upload_memory_max: 32 << 20,
            read_memory_max: 64 << 20,
            pushes_max: 1024,
            pulls_max: 1024,
            wait_max: Duration::from_secs(10),
            delete_enabled: true,
            sparse_allowed: false,
            page_entries_max: 10_000,
            guard: Guard::open(),
        }
    }
}
