//! The tree on the disk, and the only place that makes file names.
//!
//! ```text
//! <root>/
//!   lock                                      held (flock) by the process that has the store open
//!   tmp/<id>                                  contents of `put` and metainfos being written; emptied at start
//!   uploads/<id>.data                         the bytes received so far: its length is the upload's offset
//!   uploads/<id>.json                         the upload's label
//!   partials/<algorithm>/<hex>.data           sparse: pieces at their places
//!   partials/<algorithm>/<hex>.have           one byte per piece, 1 = written
//!   partials/<algorithm>/<hex>.metainfo       what the pieces are checked against
//!   pack/<id>.data                            a segment: small content, one record after the other; id = 8 hexadecimal digits
//!   pack/<id>.summary                         what is in a segment that is full, to save reading it
//!   quarantine/<algorithm>/<hex>.data         a damaged blob that was set aside
//!   quarantine/<algorithm>/<hex>.metainfo     what its good pieces can be told by
//!   blobs/<algorithm>/<hh>/<hex>.data         a complete blob; hh = first two characters of hex
//!   blobs/<algorithm>/<hh>/<hex>.metainfo     a blob is complete when it has both files and their sizes agree
//! ```
//!
//! Nothing from the network becomes a name: `<hex>` is a digest that parsed, `<id>` is our own random number. Names that this
//! file would not make are foreign: they are left alone and counted.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use shoal_oci::{Algorithm, Digest};

use crate::id::UploadId;

/// The algorithms that have a directory.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// One of the files that make a blob or a partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Data,
    Have,
    Metainfo,
}

impl Part {
    const fn extension(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Have => "have",
            Self::Metainfo => "metainfo",
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn tmp_file(&self, id: &UploadId) -> PathBuf {
        self.tmp().join(id.to_string())
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(crate) fn upload_data(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(format!("{id}.data"))
    }

    pub(crate) fn upload_label(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(format!("{id}.json"))
    }

    pub(crate) fn partials(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("partials").join(algorithm.as_str())
    }

    pub(crate) fn partial(&self, digest: &Digest, part: Part) -> PathBuf {
        self.partials(digest.algorithm()).join(file_name(digest, part))
    }

    pub(crate) fn pack(&self) -> PathBuf {
        self.root.join("pack")
    }

    pub(crate) fn segment(&self, id: u32) -> PathBuf {
        self.pack().join(format!("{id:08x}.data"))
    }

    pub(crate) fn segment_summary(&self, id: u32) -> PathBuf {
        self.pack().join(format!("{id:08x}.summary"))
    }

    /// The directory of damaged blobs.
    pub(crate) fn quarantine(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("quarantine").join(algorithm.as_str())
    }

    pub(crate) fn quarantined(&self, digest: &Digest, part: Part) -> PathBuf {
        self.quarantine(digest.algorithm()).join(file_name(digest, part))
    }

    /// The directory that holds an algorithm's shards.
    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    /// The directory of one first byte. It is made when the first blob needs it.
    pub(crate) fn shard(&self, algorithm: Algorithm, first: u8) -> PathBuf {
        self.blobs(algorithm).join(format!("{first:02x}"))
    }

    pub(crate) fn shard_of(&self, digest: &Digest) -> PathBuf {
        self.shard(digest.algorithm(), digest.as_bytes().first().copied().unwrap_or_default())
    }

    pub(crate) fn blob(&self, digest: &Digest, part: Part) -> PathBuf {
        self.shard_of(digest).join(file_name(digest, part))
    }

    /// Every directory below the root but the shards, parents first.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut all = vec![self.tmp(), self.uploads()];
        all.extend(["partials", "quarantine", "blobs"].map(|name| self.root.join(name)));
        all.push(self.pack());
        for algorithm in ALGORITHMS {
            all.extend([self.partials(algorithm), self.quarantine(algorithm), self.blobs(algorithm)]);
        }
        all
    }
}

fn file_name(digest: &Digest, part: Part) -> String {
    format!("{}.{}", digest.to_hex(), part.extension())
}

/// Reads the name of a shard; `None` when it is foreign.
pub(crate) fn parse_shard(name: &OsStr) -> Option<u8> {
    let text = name.to_str().filter(|text| text.len() == 2 && text.to_lowercase() == **text)?;
    // from_str_radix also reads a sign.
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(text, 16).ok())?
}

/// Reads a name in a directory of `algorithm`; `None` when it is foreign.
pub(crate) fn parse_digest_file(algorithm: Algorithm, name: &OsStr) -> Option<(Digest, Part)> {
    let (hex, extension) = name.to_str()?.split_once('.')?;
    let part =
        [Part::Data, Part::Have, Part::Metainfo].into_iter().find(|part| part.extension() == extension)?;
    let digest = format!("{}:{hex}", algorithm.as_str()).parse().ok()?;
    Some((digest, part))
}

/// Reads a name in the directory of segments; true for the segment itself. `None` when it is foreign.
pub(crate) fn parse_segment_file(name: &OsStr) -> Option<(u32, bool)> {
    let (id, extension) = name.to_str()?.split_once('.')?;
    let is_data = match extension {
        "data" => true,
        "summary" => false,
        _ => return None,
    };
    let is_ours = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = u32::from_str_radix(id, 16).ok().filter(|id| is_ours && *id > 0)?;
    Some((id, is_data))
}

/// Reads a name in the directory of uploads; true for the data file. `None` when it is foreign.
pub(crate) fn parse_upload_file(name: &OsStr) -> Option<(UploadId, bool)> {
    let (id, extension) = name.to_str()?.split_once('.')?;
    let is_data = match extension {
        "data" => true,
        "json" => false,
        _ => return None,
    };
    Some((id.parse().ok()?, is_data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_foreign_names_do_not() {
        let paths = Paths::new(Path::new("/s"));
        for algorithm in ALGORITHMS {
            let digest = Digest::of(algorithm, b"x");
            for part in [Part::Data, Part::Have, Part::Metainfo] {
                let path = paths.partial(&digest, part);
                assert_eq!(parse_digest_file(algorithm, path.file_name().unwrap()), Some((digest, part)));
            }
            assert!(paths.blob(&digest, Part::Data).starts_with(paths.shard_of(&digest)));
        }
        let hex = Digest::sha256(b"x").to_hex();
        for name in
            ["", ".", "data", ".data", &hex, &format!("{hex}.data~"), &format!("{hex}.json"), "ab.data"]
        {
            assert_eq!(parse_digest_file(Algorithm::Sha256, OsStr::new(name)), None, "{name}");
        }
        assert_eq!(parse_digest_file(Algorithm::Sha512, OsStr::new(&format!("{hex}.data"))), None);
    }

    #[test]
    fn shards_read_back_and_foreign_names_do_not() {
        for first in 0..=u8::MAX {
            let path = Paths::new(Path::new("/s")).shard(Algorithm::Sha256, first);
            assert_eq!(parse_shard(path.file_name().unwrap()), Some(first));
        }
        for name in ["", "a", "AB", "+1", "-0", "abc", "g0", "é"] {
            assert_eq!(parse_shard(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn segment_names_read_back() {
        let paths = Paths::new(Path::new("/s"));
        for id in [1, 0xabc, u32::MAX] {
            assert_eq!(parse_segment_file(paths.segment(id).file_name().unwrap()), Some((id, true)));
            let summary = paths.segment_summary(id);
            assert_eq!(parse_segment_file(summary.file_name().unwrap()), Some((id, false)));
        }
        for name in ["00000000.data", "1.data", "+0000001.data", "0000000A.data", "00000001.txt", "00000001"]
        {
            assert_eq!(parse_segment_file(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn upload_names_read_back() {
        let paths = Paths::new(Path::new("/s"));
        let id = UploadId::random().unwrap();
        assert_eq!(parse_upload_file(paths.upload_data(&id).file_name().unwrap()), Some((id, true)));
        assert_eq!(parse_upload_file(paths.upload_label(&id).file_name().unwrap()), Some((id, false)));
        assert_eq!(parse_upload_file(OsStr::new("0.data")), None);
        assert_eq!(parse_upload_file(OsStr::new(&format!("{id}.txt"))), None);
    }
}
