//! A machine's tree of files, or another one below a directory (an image that is being built, a test).
//!
//! Every path that is written is first walked from the root, link by link, so that a link in another tree is never followed into this
//! machine's, and one that an ordinary user has laid is not followed at all.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::error::{HostsError, Refusal};

/// Links followed for one path; as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Where `/` is.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    directory: PathBuf,
    /// Whose it is.
    owner: u32,
}

impl Root {
    /// The tree below `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, HostsError> {
        let directory = directory.canonicalize().map_err(HostsError::io("open", directory))?;
        let owner = directory.metadata().map_err(HostsError::io("look at", &directory))?.uid();
        Ok(Self { directory, owner })
    }

    /// Whether this is the machine itself, whose programs can be run.
    pub(crate) fn is_machine(&self) -> bool {
        self.directory == Path::new("/")
    }

    /// Where a path of the tree is on this machine.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        self.directory.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The same path without links in it. What does not exist yet stays as it is.
    pub(crate) fn resolve(&self, named: &Path) -> Result<PathBuf, HostsError> {
        let mut ahead: VecDeque<OsString> = parts(named);
        let mut path = PathBuf::from("/");
        let mut links = 0;
        // Whether the last part of `named` was a link: then what it leads to has to be there.
        let mut is_link = false;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                path.pop();
                continue;
            }
            let next = path.join(&part);
            let real = self.real(&next);
            let metadata = match fs::symlink_metadata(&real) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    path = next;
                    if is_link && ahead.is_empty() {
                        let problem = format!("is a link to {}, which does not exist", path.display());
                        return Err(Refusal::new(named, problem, "make the file, or remove the link").into());
                    }
                    continue;
                }
                Err(error) => return Err(HostsError::io("look at", &real)(error)),
            };
            if !metadata.is_symlink() {
                path = next;
                continue;
            }
            links += 1;
            is_link |= ahead.is_empty();
            self.check_link(&next, metadata.uid(), links)?;
            let target = fs::read_link(&real).map_err(HostsError::io("read the link", &real))?;
            if target.is_absolute() {
                path = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                ahead.push_front(part);
            }
        }
        Ok(path)
    }

    fn check_link(&self, link: &Path, owner: u32, count: usize) -> Result<(), HostsError> {
        let (problem, remedy) = if count > LINKS_MAX {
            ("is one of links that lead in a circle".to_owned(), "remove it")
        } else if owner != 0 && owner != self.owner {
            (format!("is a link that belongs to user {owner}"), "chown it to root, or remove it")
        } else {
            return Ok(());
        };
        Err(Refusal::new(link, problem, remedy).into())
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}
