//! Finds the static busybox that makes an image runnable without any library in it.

use std::path::{Path, PathBuf};

/// Where Debian's `busybox-static` and most other distributions install it.
const PLACES: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// The busybox of this machine when it is linked statically; a dynamic one would not start in an empty image.
pub fn find() -> Option<PathBuf> {
    PLACES.into_iter().map(PathBuf::from).find(|path| is_static_elf(path))
}

/// Whether the file is a 64-bit ELF program without an interpreter, in other words without a dynamic loader.
fn is_static_elf(path: &Path) -> bool {
    // ELF-64 header: program header offset at 32, entry size at 54, entry count at 56; PT_INTERP is 3.
    const PT_INTERP: u32 = 3;
    let Ok(bytes) = std::fs::read(path) else { return false };
    let short =
        |at: usize| bytes.get(at..at + 2).map(|raw| usize::from(u16::from_le_bytes([raw[0], raw[1]])));
    if bytes.get(..5) != Some(b"\x7fELF\x02") {
        return false;
    }
    let start = bytes.get(32..40).and_then(|raw| <[u8; 8]>::try_from(raw).ok()).map(u64::from_le_bytes);
    let (Some(start), Some(entry_len), Some(count)) = (start, short(54), short(56)) else { return false };
    let Ok(start) = usize::try_from(start) else { return false };
    (0..count).all(|index| {
        let at = start + index * entry_len;
        let kind =
            bytes.get(at..at + 4).and_then(|raw| <[u8; 4]>::try_from(raw).ok()).map(u32::from_le_bytes);
        kind.is_some_and(|kind| kind != PT_INTERP)
    })
}
