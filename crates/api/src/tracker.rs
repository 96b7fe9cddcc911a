//! What a peer says to a tracker, and what it hears: `POST /announce` on port 15003.
//!
//! One request carries many blobs, and one answer carries everything that a download needs to start: metainfo, peers, owners and
//! the time of the next announce. There is no second round trip and no "ask again later" status, which cost Kraken's users two
//! seconds per blob.
//!
//! An owner's address may have an unspecified IP (`0.0.0.0` or `[::]`). It means *the host at which you reached the tracker*: a
//! single server then works on loopback and on a real network without being told its own name. [`TrackerClient`] puts the
//! tracker's address in its place, so no one above it ever sees an unspecified address.

mod client;
mod place;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo, ZoneName};

pub use client::{Reach, TrackerClient};

/// Path of the announce endpoint.
pub const ANNOUNCE_PATH: &str = "/announce";

/// Most items in one request. An agent that seeds thousands of blobs announces them in several requests; 256 keeps one of them
/// below 64 KiB and its answer within milliseconds.
pub const ITEMS_MAX: usize = 256;

/// Longest request body in bytes: [`ITEMS_MAX`] items with sha512 digests take about 60 KiB, and as much again with the longest names
/// of repositories.
pub const REQUEST_LEN_MAX: usize = 192 * 1024;

/// Longest content that comes inside an answer, in bytes: half of the blobs of usual images (configs, labels, small layers) are no longer,
/// and in base64 it is as much as a full hand-out of peers for a dozen blobs.
pub const CONTENT_LEN_MAX: u64 = 64 * 1024;

/// Most metainfo and content bytes in one answer before base64. The metainfo of a blob of 1 TiB takes 8 MiB; items beyond the budget get
/// [`ItemErrorCode::Unavailable`] and ask again with their next announce.
pub const METAINFO_LEN_MAX: usize = 24 * 1024 * 1024;

/// Longest answer body in bytes: [`METAINFO_LEN_MAX`] in base64, and the peers of [`ITEMS_MAX`] items.
pub const RESPONSE_LEN_MAX: usize = 48 * 1024 * 1024;

/// Why a peer announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnounceEvent {
    /// It begins to download or to seed.
    Started,
    /// The interval has passed.
    Periodic,
    /// It has just got the last piece.
    Completed,
    /// It no longer takes part.
    Stopped,
}

/// One blob of an announce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceItem {
    /// The blob.
    pub digest: Digest,
    /// Why it is announced.
    pub event: AnnounceEvent,
    /// Whether the peer has every piece.
    #[serde(default)]
    pub complete: bool,
    /// Whether the answer must carry the metainfo.
    #[serde(default)]
    pub need_metainfo: bool,
    /// The repository for which a peer that lacks pieces wants the blob. Where the registry asks who somebody is, there is no answer
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The [`AnnounceReply::version`] that the peer remembers from its last announce of this blob; only who came since is named then. 0
    /// asks for a sample of all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub known: u64,
    /// How many peers are of use at most.
    #[serde(default = "peers_wanted", skip_serializing_if = "is_usual")]
    pub peers_wanted: u8,
    /// The answer may carry the whole content of a blob of at most this many bytes; no tracker sends more than [`CONTENT_LEN_MAX`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub content_max: u64,
}

/// Peers in an answer when the question does not say: more than a download dials, because some will not answer.
pub const PEERS_WANTED: u8 = 50;

const fn peers_wanted() -> u8 {
    PEERS_WANTED
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_usual(peers_wanted: &u8) -> bool {
    *peers_wanted == PEERS_WANTED
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(version: &u64) -> bool {
    *version == 0
}

/// Body of `POST /announce`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceRequest {
    /// Who announces.
    pub peer_id: PeerId,
    /// Where it takes swarm connections.
    pub port: u16,
    /// The address at which others reach it; without one, the source address of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneName>,
    /// The blobs; at most [`ITEMS_MAX`].
    pub items: Vec<AnnounceItem>,
}

/// What the tracker answers about one blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceReply {
    /// The metainfo, when it was asked for: base64 of [`Metainfo::encode`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metainfo_base64")]
    pub metainfo: Option<Metainfo>,
    /// The whole blob, when it is small and was asked for (see [`AnnounceItem::content_max`]), in base64. Empty when there
    /// is none. Whoever takes it checks it against the digest.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "bytes_base64")]
    pub content: Bytes,
    /// Agents that have pieces, and the owners. Never the peer that asked; empty for a complete peer.
    #[serde(default)]
    pub peers: Vec<PeerInfo>,
    /// URLs of the whole blob at its owners: `http://host:15002/blobs/{digest}?repository={name}`, to be read with `Range`.
    #[serde(default)]
    pub web_seeds: Vec<String>,
    /// When to announce this blob again, in milliseconds.
    pub interval_ms: u64,
    /// Proof that the peer may have the blob, for other peers: at most 256 bytes, in base64.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "bytes_base64")]
    pub grant: Bytes,
    /// How far the list of the blob's peers has come, for [`AnnounceItem::known`]; 0 when that does not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

/// Why the tracker cannot help with one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemErrorCode {
    /// No owner has the blob and no peer offers it, or it is not for whoever asks: asking again does not help.
    NotFound,
    /// The tracker cannot say now: ask again.
    Unavailable,
}

/// An error about one blob; the other items of the request are answered all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ItemError {
    /// The machine's word.
    pub code: ItemErrorCode,
    /// The human's sentence.
    pub message: String,
}

#[expect(clippy::large_enum_variant, reason = "nearly every reply is the large variant")]
/// The answer about one blob: `{"ok": …}` or `{"error": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemReply {
    /// Everything that the peer needs.
    Ok(AnnounceReply),
    /// Why there is nothing.
    Error(ItemError),
}

/// Answer to `POST /announce`: one reply for each item, in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceResponse {
    /// The replies.
    pub items: Vec<ItemReply>,
    /// The public keys by which grants are judged; none where members may have everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_keys: Vec<String>,
    /// Tells the tracker's present life from others; 0 when it does not say. A tracker that has begun anew knows nobody.
    #[serde(default, skip_serializing_if = "is_none")]
    pub epoch: u32,
    /// When to look whether it still lives the same life, in milliseconds; 0 when it does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub look_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_none(epoch: &u32) -> bool {
    *epoch == 0
}

impl ItemError {
    /// An error with a code and a sentence.
    pub fn new(code: ItemErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<ItemReply> for Result<AnnounceReply, ItemError> {
    fn from(reply: ItemReply) -> Self {
        match reply {
            ItemReply::Ok(reply) => Ok(reply),
            ItemReply::Error(error) => Err(error),
        }
    }
}

impl From<Result<AnnounceReply, ItemError>> for ItemReply {
    fn from(result: Result<AnnounceReply, ItemError>) -> Self {
        match result {
            Ok(reply) => Self::Ok(reply),
            Err(error) => Self::Error(error),
        }
    }
}

/// Bytes inside JSON.
mod bytes_base64 {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::{Bytes, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}

/// A metainfo inside JSON: base64 of its binary form, which is a third of what hexadecimal digests in a list would take.
mod metainfo_base64 {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::{Deserialize, Deserializer, Metainfo, Serializer};

    pub(super) fn serialize<S: Serializer>(
        metainfo: &Option<Metainfo>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match metainfo {
            Some(metainfo) => serializer.serialize_str(&BASE64_STANDARD.encode(metainfo.encode())),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Metainfo>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let bytes = BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Metainfo::decode(&bytes).map(Some).map_err(serde::de::Error::custom)
    }
}
