//! Whoever gives grants: the tracker's side.
//!
//! The private key is made in the data directory at the first start. To rotate it, put another file in its place (or none) and start
//! again: beside it stands which public keys were used before, and those are told to everybody until the last of their grants has expired.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::PeerId;

use crate::error::GrantError;
use crate::key::{self, KEYS_MAX, PublicKey};
use crate::{GRANT_LEN, VERSION, seconds, signed};

/// How long a grant holds unless it is configured: longer than almost every download, and short enough for a right that was taken away.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The shortest lifetime: downloads announce every half minute at least, and some announces are lost.
pub const LIFETIME_MIN: Duration = Duration::from_secs(5 * 60);

/// The longest lifetime.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Gives grants.
pub struct Issuer {
    pair: Ed25519KeyPair,
    id: [u8; key::ID_LEN],
    cluster: [u8; 32],
    lifetime: Duration,
    /// Ours first.
    keys: Vec<PublicKey>,
}

impl Issuer {
    /// An issuer with the private key in `path`, which is made if there is none, for the cluster whose key has the hash `cluster`. Blocks.
    ///
    /// # Errors
    /// [`GrantError`] names the file that is the trouble.
    pub fn open(
        path: &Path,
        cluster: [u8; 32],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, GrantError> {
        let pair = key::read_or_make(path)?;
        let why = "it has no public half";
        let own = PublicKey::of(&pair).ok_or_else(|| GrantError::Key { path: path.to_owned(), why })?;
        let former = Former::of(path, own, lifetime, now)?;
        let keys = std::iter::once(own).chain(former).take(KEYS_MAX).collect();
        Ok(Self { pair, id: own.id(), cluster, lifetime, keys })
    }

    /// The grant that `peer` may have the blob `digest`, from `now` on for a lifetime.
    pub fn grant(&self, digest: &Digest, peer: &PeerId, now: SystemTime) -> Bytes {
        let expires = seconds(now) + self.lifetime.as_secs();
        let signature = self.pair.sign(&signed(&self.cluster, digest, peer, expires));
        let mut grant = Vec::with_capacity(GRANT_LEN);
        grant.push(VERSION);
        grant.extend_from_slice(&self.id);
        grant.extend_from_slice(&expires.to_be_bytes());
        grant.extend_from_slice(signature.as_ref());
        grant.into()
    }

    /// The public keys of grants that may be in use, at most [`KEYS_MAX`].
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
}

/// The keys that were used before, in a file beside the private key: a line for each, with the moment from which it was used no more.
struct Former {
    path: PathBuf,
    lines: Vec<(PublicKey, Option<u64>)>,
}

impl Former {
    /// Brings the file up to date, and gives the keys besides `own` of which there may be grants.
    fn of(
        private: &Path,
        own: PublicKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<PublicKey>, GrantError> {
        let mut former = Self::read(private.with_extension("keys"))?;
        let before = former.lines.clone();
        let now = seconds(now);
        former.lines.retain(|(key, _)| *key != own);
        for (_, retired) in &mut former.lines {
            retired.get_or_insert(now);
        }
        // The lifetime may have been longer when the last grant was given.
        let longest = lifetime.max(LIFETIME).as_secs();
        former.lines.retain(|(_, retired)| retired.is_none_or(|at| now < at.saturating_add(longest)));
        former.lines.insert(0, (own, None));
        former.lines.truncate(KEYS_MAX);
        if former.lines != before {
            former.write()?;
        }
        Ok(former.lines.iter().skip(1).map(|(key, _)| *key).collect())
    }

    fn read(path: PathBuf) -> Result<Self, GrantError> {
        let text = match key::read(&path) {
            Err(GrantError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            text => text?,
        };
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let key = words.next()?.parse().ok()?;
            Some((key, words.next().and_then(|word| word.parse().ok())))
        };
        let lines = text.lines().map(line).collect::<Option<Vec<_>>>();
        let why = "every line is a public key and the second since 1970 from which it was used no more";
        match lines {
            Some(lines) => Ok(Self { path, lines }),
            None => Err(GrantError::Key { path, why }),
        }
    }

    fn write(&self) -> Result<(), GrantError> {
        let line = |(key, retired): &(PublicKey, Option<u64>)| match retired {
            Some(at) => format!("{key} {at}\n"),
            None => format!("{key}\n"),
        };
        key::write(&self.path, &self.lines.iter().map(line).collect::<String>())
    }
}
