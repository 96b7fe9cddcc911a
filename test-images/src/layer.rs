//! One layer: a tar archive of random files, compressed and hashed while it is streamed into a [`Sink`].

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use shoal_oci::Digest;
use tar::{Builder, EntryType, Header};

use crate::random::RandomBytes;
use crate::sink::{HashingWriter, Sink};
use crate::spec::{Compression, RootFs};

/// The unit of tar: headers and padded contents are multiples of it.
const TAR_BLOCK: u64 = 512;
/// Two empty blocks close an archive.
const TAR_END: u64 = 2 * TAR_BLOCK;
/// Size of the smallest layer: one header, one block of content, the closing blocks.
pub const SIZE_MIN: u64 = 2 * TAR_BLOCK + TAR_END;
/// Largest made file. Several files per layer make unpacking resemble that of real images.
const FILE_SIZE_MAX: u64 = 8 * 1024 * 1024;
/// 2020-01-01 UTC: a fixed time, because the archive's bytes must not depend on when it was made; and not the epoch, which
/// some tools take for "unset".
const MTIME: u64 = 1_577_836_800;
/// Applets that get a symbolic link to busybox, so that a made image can be used by hand.
const APPLETS: [&str; 6] = ["sh", "cat", "echo", "ls", "sleep", "sha256sum"];

/// What a finished layer is called by manifest and configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob, as compressed.
    pub digest: Digest,
    /// Size of the blob in bytes, as compressed.
    pub size: u64,
    /// Digest of the tar archive before compression.
    pub diff_id: Digest,
}

/// Makes a layer of random files whose archive is `size` bytes (rounded up to 512; at least [`SIZE_MIN`]).
pub fn random<S: Sink>(
    sink: &mut S,
    compression: Compression,
    size: u64,
    seed: u64,
    path: [u64; 2],
) -> Result<Layer> {
    write_layer(sink, compression, |archive| {
        let mut left = size.max(SIZE_MIN).next_multiple_of(TAR_BLOCK) - TAR_END;
        let mut number = 0;
        while left > 0 {
            // A file takes its header with it, and never leaves less than a header and a block behind.
            let mut len = (left - TAR_BLOCK).min(FILE_SIZE_MAX);
            if left - TAR_BLOCK - len == TAR_BLOCK {
                len -= TAR_BLOCK;
            }
            let content = RandomBytes::new(seed, &[path[0], path[1], number]).take(len);
            let name = format!("data/layer-{}/{number:05}.bin", path[1]);
            archive.append_data(&mut header(EntryType::Regular, len, 0o644), name, content)?;
            left -= TAR_BLOCK + len;
            number += 1;
        }
        Ok(())
    })
}

/// Makes the layer with the shell and the marker.
pub fn rootfs<S: Sink>(sink: &mut S, compression: Compression, rootfs: &RootFs) -> Result<Layer> {
    let busybox = File::open(&rootfs.busybox).with_context(|| {
        format!("cannot read {}: install the package busybox-static", rootfs.busybox.display())
    })?;
    let busybox_size = busybox.metadata()?.len();
    write_layer(sink, compression, |archive| {
        for directory in ["bin/", "etc/", "tmp/"] {
            archive.append_data(&mut header(EntryType::Directory, 0, 0o755), directory, std::io::empty())?;
        }
        archive.append_data(&mut header(EntryType::Regular, busybox_size, 0o755), "bin/busybox", &busybox)?;
        for applet in APPLETS {
            archive.append_link(
                &mut header(EntryType::Symlink, 0, 0o777),
                format!("bin/{applet}"),
                "busybox",
            )?;
        }
        for (path, text) in [("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"), ("marker", &rootfs.marker)] {
            archive.append_data(
                &mut header(EntryType::Regular, text.len() as u64, 0o644),
                path,
                text.as_bytes(),
            )?;
        }
        Ok(())
    })
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header
}

/// An archive that is hashed (diff id), compressed, hashed again (digest) and written.
type Archive<W> = Builder<HashingWriter<Encoder<HashingWriter<W>>>>;

fn write_layer<S: Sink>(
    sink: &mut S,
    compression: Compression,
    fill: impl FnOnce(&mut Archive<S::Writer>) -> Result<()>,
) -> Result<Layer> {
    let encoder = Encoder::new(compression, HashingWriter::new(sink.begin()?))?;
    let mut archive = Builder::new(HashingWriter::new(encoder));
    fill(&mut archive)?;
    let (encoder, diff_id, _) = archive.into_inner()?.finish();
    let (writer, digest, size) = encoder.finish()?.finish();
    sink.finish(writer, &digest)?;
    Ok(Layer { digest, size, diff_id })
}

enum Encoder<W: Write> {
    None(BufWriter<W>),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn new(compression: Compression, inner: W) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(BufWriter::new(inner)),
            // The content is random: a higher level costs time and gains nothing.
            Compression::Gzip => Self::Gzip(GzEncoder::new(inner, flate2::Compression::fast())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(inner, 1)?),
        })
    }

    fn finish(self) -> Result<W> {
        Ok(match self {
            Self::None(buffered) => buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(writer) => writer.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::None(writer) => writer.flush(),
            Self::Gzip(writer) => writer.flush(),
            Self::Zstd(writer) => writer.flush(),
        }
    }
}
