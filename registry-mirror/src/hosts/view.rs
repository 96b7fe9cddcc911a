//! The files of the tree as they were before we came, which is what every plan begins from.
//!
//! A file that we wrote shows what the operator had; one that only we have is absent. So a plan depends on the operator's files and the
//! wish alone, and applying twice, or with another wish, gives what applying once would.

use std::path::{Path, PathBuf};

use super::disk::{Content, Disk};
use super::error::{HostsError, Refusal};
use super::record::{Record, State};

/// The operator's files.
pub(crate) struct View<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) state: &'a State<'a>,
    pub(crate) record: &'a Record,
}

impl View<'_> {
    /// A file and where it really is.
    pub(crate) fn content(&self, named: &Path) -> Result<(PathBuf, Option<Content>), HostsError> {
        let path = self.disk.root().resolve(named)?;
        let current = self.disk.read(&path)?;
        let ours = self.record.files.get(&path).filter(|entry| entry.has_written(current.as_ref()));
        match ours {
            Some(entry) => Ok((path, self.state.before(entry)?)),
            None => Ok((path, current)),
        }
    }

    /// A text file, or `None` when there is none.
    pub(crate) fn text(&self, named: &Path) -> Result<Option<String>, HostsError> {
        let Some(content) = self.content(named)?.1 else { return Ok(None) };
        let text = String::from_utf8(content.bytes);
        let text = text.map_err(|_| Refusal::new(named, "is not text in UTF-8", "write it in UTF-8"))?;
        Ok(Some(text))
    }

    /// Names in a directory, in order, without those that are there only because of us.
    pub(crate) fn names(&self, named: &Path) -> Result<Vec<String>, HostsError> {
        let directory = self.disk.root().resolve(named)?;
        let mut names = Vec::new();
        for name in self.disk.names(&directory)? {
            let path = directory.join(&name);
            let is_ours = if self.record.directories.contains(&path) {
                self.names(&path)?.is_empty()
            } else {
                self.record.files.contains_key(&path) && self.content(&path)?.1.is_none()
            };
            if !is_ours {
                names.push(name);
            }
        }
        Ok(names)
    }
}
