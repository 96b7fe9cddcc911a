//! Where made blobs go: a directory on disk or a map in memory.

use std::io::{self, Write};

use anyhow::Result;
use shoal_oci::{Algorithm, Digest, Digester};

/// A place that takes blobs whose digest is only known once they are written.
pub trait Sink {
    /// An open blob.
    type Writer: Write;
    /// Opens a new blob.
    fn begin(&mut self) -> Result<Self::Writer>;
    /// Files the blob under its digest.
    fn finish(&mut self, writer: Self::Writer, digest: &Digest) -> Result<()>;

    /// Files a blob that is in memory already.
    fn put(&mut self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        let mut writer = self.begin()?;
        writer.write_all(bytes)?;
        self.finish(writer, &digest)?;
        Ok(digest)
    }
}

/// Passes bytes on while it counts and hashes them.
pub struct HashingWriter<W> {
    inner: W,
    digester: Digester,
    size: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Nothing written yet.
    pub fn new(inner: W) -> Self {
        Self { inner, digester: Digester::new(Algorithm::Sha256), size: 0 }
    }

    /// The inner writer, the digest and the size in bytes of what went through.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.digester.finish(), self.size)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digester.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
