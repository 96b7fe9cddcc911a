//! Keys: the private one in a file that only we can read, public ones as text.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::GrantError;

/// Bytes by which a grant names its key.
pub(crate) const ID_LEN: usize = 8;

/// Public keys that anybody holds at once: those of all trackers of a cluster, and their former ones.
pub const KEYS_MAX: usize = 64;

/// The largest key file in bytes; ours has some 130.
const FILE_LEN_MAX: u64 = 64 * 1024;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// An Ed25519 public key. As text: base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// What a grant calls it.
    pub(crate) fn id(&self) -> [u8; ID_LEN] {
        let hash = digest(&SHA256, &self.0);
        std::array::from_fn(|at| hash.as_ref()[at])
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }

    pub(crate) fn of(pair: &Ed25519KeyPair) -> Option<Self> {
        pair.public_key().as_ref().try_into().ok().map(Self)
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| "it is not base64")?;
        bytes.try_into().map(Self).map_err(|_| "it has not 32 bytes")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads the key in `path`; makes one there when there is no such file. Blocks.
pub(crate) fn read_or_make(path: &Path) -> Result<Ed25519KeyPair, GrantError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            tracing::warn!(path = %path.display(), "others can read the key of our grants; chmod 600 it");
        }
        _ => {}
    }
    let refuse = |why| GrantError::Key { path: path.to_owned(), why };
    let text = read(path)?;
    let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let body: String =
        body.ok_or_else(|| refuse("it is not a private key in PEM (PKCS #8)"))?.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| refuse("its PEM block is not base64"))?;
    Ed25519KeyPair::from_pkcs8(&der).map_err(|_| refuse("it is not an Ed25519 key"))
}

/// Makes a key that only we can read. It appears whole or not at all.
fn make(path: &Path) -> Result<(), GrantError> {
    let key =
        Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(|_| GrantError::Random)?;
    write(path, &format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(key.as_ref())))?;
    tracing::info!(path = %path.display(), "a key for grants was made");
    Ok(())
}

/// The text of a file; of its size nothing is taken for granted.
pub(crate) fn read(path: &Path) -> Result<String, GrantError> {
    let fail = |source| GrantError::File { doing: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(fail)?.len() > FILE_LEN_MAX {
        return Err(GrantError::Key { path: path.to_owned(), why: "it is too large" });
    }
    fs::read_to_string(path).map_err(fail)
}

/// Writes a file that only we can read, whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), GrantError> {
    let fail = |source| GrantError::File { doing: "write", path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(fail)?;
    let draft = path.with_extension("new");
    // Left over from a crash in the middle of this; it may not be there.
    _ = fs::remove_file(&draft);
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let written = open.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&draft, path)).map_err(fail)?;
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(fail)
}
