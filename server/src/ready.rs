//! The ready file: real addresses in JSON, for whoever started the server with port 0 or waits for it.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::addresses::Addresses;

/// Writes `{"registry":"ip:port","peer":…,"origin":…,"tracker":…,"tags":…,"admin":…}` to `path`. The file appears whole or not at
/// all, so a reader that finds it can use it.
///
/// # Errors
/// When the file cannot be written; the sentence names it.
pub fn write(path: &Path, addresses: &Addresses) -> Result<()> {
    let cannot = || format!("cannot write the ready file {}", path.display());
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let mut file = std::fs::File::create(&partial).with_context(cannot)?;
    let mut json = serde_json::to_vec(addresses).with_context(cannot)?;
    json.push(b'\n');
    file.write_all(&json).with_context(cannot)?;
    std::fs::rename(&partial, path).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_one_address_for_each_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let addr = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            registry: addr(1),
            peer: addr(2),
            origin: addr(3),
            tracker: addr(4),
            tags: addr(5),
            admin: addr(6),
        };
        std::fs::write(&path, "old").unwrap();
        write(&path, &addresses).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let want = r#"{"registry":"127.0.0.1:1","peer":"127.0.0.1:2","origin":"127.0.0.1:3","tracker":"127.0.0.1:4","tags":"127.0.0.1:5","admin":"127.0.0.1:6"}"#;
        assert_eq!(text.trim_end(), want);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("absent/ready.json"), &addresses).is_err());
    }
}
