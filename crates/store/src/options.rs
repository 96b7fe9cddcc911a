//! What the owner of a store decides about it: how hard bytes are held, and how much of the disk they may take.

/// How hard the store holds what it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// For the server, whose copy may be the only one: data, metainfo and directories are on the disk (fsync) before a commit
    /// returns, and nothing is ever evicted to make room; a full store answers [`crate::ErrorKind::NoSpace`].
    Durable,
    /// For the agent, which can fetch again what it loses: no fsync (after a power failure, reads and resumed downloads find
    /// what is bad because they verify), and the least recently used blobs make room for new ones.
    Cache,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How hard the store holds what it has acknowledged, and whether it evicts.
    pub durability: Durability,
    /// Bytes that complete blobs, unfinished downloads (at their full size) and uploads may take together; `None` = no limit.
    pub capacity: Option<u64>,
    /// Bytes of disk that the store leaves free for others. With 0 it may fill the disk, and a cache evicts before that.
    pub free_min: u64,
}

impl Options {
    /// A durable store without limits of its own.
    pub const fn durable() -> Self {
        Self { durability: Durability::Durable, capacity: None, free_min: 0 }
    }

    /// A cache of at most `capacity` bytes.
    pub const fn cache(capacity: u64) -> Self {
        Self { durability: Durability::Cache, capacity: Some(capacity), free_min: 0 }
    }

    pub(crate) const fn is_durable(&self) -> bool {
        matches!(self.durability, Durability::Durable)
    }
}
