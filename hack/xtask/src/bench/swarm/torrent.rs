//! A .torrent file for the blob, because that is what programs of others take: one file, SHA-1 pieces, our own tracker.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What the blob is called inside of the torrent, and so on the disk of every client.
pub(super) const FILE_NAME: &str = "blob.bin";
/// Where our tracker listens on the origin's node.
const TRACKER_PORT: u16 = 6969;
/// Bytes of a piece of a blob up to [`LARGE`]: in the headline case 64 KiB made libtorrent slower, 1 MiB aria2.
const PIECE_LEN: u64 = 256 * 1024;
/// From here on 1 MiB, which keeps lists of pieces short where nobody trades.
const LARGE: u64 = 512 * 1024 * 1024;

/// The tracker's address when the origin has this one.
pub(super) fn tracker_address(origin: IpAddr) -> SocketAddr {
    SocketAddr::new(origin, TRACKER_PORT)
}

/// Where clients announce.
pub(super) fn announce_url(origin: IpAddr) -> String {
    format!("http://{}/announce", tracker_address(origin))
}

/// Writes the torrent of a file.
pub(super) fn make(file: &Path, size: u64, origin: IpAddr, torrent: &Path) -> Result<()> {
    let piece_len = if size < LARGE { PIECE_LEN } else { 4 * PIECE_LEN };
    let pieces = piece_digests(file, piece_len)?;
    ensure!(pieces.len() as u64 == 20 * size.div_ceil(piece_len), "not as many digests as pieces");
    std::fs::write(torrent, encode(&announce_url(origin), size, piece_len, &pieces))
        .with_context(|| format!("cannot write {}", torrent.display()))
}

/// Bencoding, keys in order (BEP 3).
fn encode(announce: &str, size: u64, piece_len: u64, pieces: &[u8]) -> Vec<u8> {
    let mut all = format!(
        "d8:announce{}:{announce}4:infod6:lengthi{size}e4:name{}:{FILE_NAME}12:piece lengthi{piece_len}e6:pieces{}:",
        announce.len(),
        FILE_NAME.len(),
        pieces.len()
    )
    .into_bytes();
    all.extend_from_slice(pieces);
    all.extend_from_slice(b"ee");
    all
}

/// SHA-1 of each piece by coreutils: nothing of ours uses SHA-1, so no crate is worth having for this.
fn piece_digests(file: &Path, piece_len: u64) -> Result<Vec<u8>> {
    let mut command = Command::new("split");
    command.args(["--bytes", &piece_len.to_string(), "--filter", "sha1sum"]).arg(file);
    let output = command.output().context("cannot run split of coreutils")?;
    ensure!(output.status.success(), "split: {}", String::from_utf8_lossy(&output.stderr));
    let mut digests = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let hex = line.get(..40).context("not a line of sha1sum")?;
        for at in (0..40).step_by(2) {
            digests.push(u8::from_str_radix(&hex[at..at + 2], 16)?);
        }
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_has_one_digest_for_each_piece() {
        let directory = tempfile::tempdir().unwrap();
        let (file, torrent) = (directory.path().join("file"), directory.path().join("torrent"));
        std::fs::write(&file, b"abc").unwrap();
        make(&file, 3, "10.0.0.1".parse().unwrap(), &torrent).unwrap();
        let bytes = std::fs::read(torrent).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.starts_with("d8:announce29:http://10.0.0.1:6969/announce4:infod6:lengthi3e4:name8:blob.bin")
        );
        // The first bytes of SHA-1("abc") in FIPS 180.
        let at = bytes.windows(3).position(|window| window == b"20:").unwrap();
        assert_eq!(bytes[at + 3..at + 7], [0xa9, 0x99, 0x3e, 0x36]);
        assert!(bytes.ends_with(b"ee"));
    }
}
