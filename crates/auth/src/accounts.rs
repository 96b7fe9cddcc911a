//! The password file: one `name:hash` a line, as Apache's `htpasswd -B` writes it.
//!
//! A file is taken whole or not at all. Whoever asks for a name that is not there waits as long as for one that is: a stored hash,
//! chosen by the name, is checked all the same and the outcome dropped.

use std::collections::HashMap;
use std::path::Path;

use crate::memo::Fingerprints;
use crate::password::Hash;
use crate::rejection::AuthError;

/// The largest password file in bytes: some 50,000 accounts.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;
/// The longest name in bytes.
const NAME_LEN_MAX: usize = 128;
/// Words that a policy uses for others than accounts, and the name under which tokens of external issuers come as passwords.
const RESERVED: [&str; 3] = ["anonymous", "authenticated", OIDC_NAME];
/// `docker login -u oidc` sends the token of an external issuer as the password.
pub(crate) const OIDC_NAME: &str = "oidc";

/// The accounts of one reading of the file.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    index: HashMap<String, usize>,
    hashes: Vec<Hash>,
}

impl Accounts {
    /// Reads a file. Blocks.
    pub(crate) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = crate::files::read(path, FILE_LEN_MAX)?;
        Self::parse(&text).map_err(|(line, why)| AuthError::Line { path: path.to_owned(), line, why })
    }

    /// Reads the content of a file; the error has the number of the line.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut accounts = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            accounts.add(line).map_err(|why| (at + 1, why))?;
        }
        Ok(accounts)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let (name, hash) =
            line.split_once(':').ok_or("a line has the form name:hash; this one has no colon")?;
        check_name(name)?;
        let hash = Hash::parse(hash)?;
        if self.index.insert(name.to_owned(), self.hashes.len()).is_some() {
            return Err(format!("the name {name} is there twice"));
        }
        self.hashes.push(hash);
        Ok(())
    }

    /// The stored password of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Hash> {
        self.index.get(name).and_then(|at| self.hashes.get(*at))
    }

    /// What a password for `name` is checked against, and whether the outcome means anything.
    pub(crate) fn target(&self, name: &str, keys: &Fingerprints) -> (Hash, bool) {
        if let Some(hash) = self.get(name) {
            return (hash.clone(), true);
        }
        let fingerprint = keys.of(&[b"decoy", name.as_bytes()]);
        let chosen = u64::from_le_bytes(std::array::from_fn(|at| fingerprint[at]));
        // Any account's, and always the same for the same name, so that costs are spread as they are among the accounts.
        let at = chosen % (self.hashes.len() as u64).max(1);
        (self.hashes.get(at as usize).cloned().unwrap_or_else(Hash::decoy), false)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.hashes.len()
    }
}

/// Whether a name can be an account's.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b":*/\"\\,".contains(&byte);
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(plain) {
        return Err(format!(
            "a name has 1 to {NAME_LEN_MAX} visible ASCII characters without : * / , \" and \\"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name {name} is reserved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash() -> String {
        bcrypt::hash("hunter2", 4).unwrap()
    }

    #[test]
    fn names_comments_and_blank_lines() {
        let text = format!("# people\n\nalice:{0}\r\nbob:{0}", hash());
        let accounts = Accounts::parse(&text).unwrap();
        assert_eq!(accounts.count(), 2);
        assert!(accounts.get("alice").is_some() && accounts.get("eve").is_none());
        assert_eq!(Accounts::parse("").unwrap().count(), 0);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_by_its_content() {
        let good = format!("alice:{}\n", hash());
        for (bad, why) in [
            ("bob", "colon"),
            ("bob:hunter2", "format"),
            (":x", "name"),
            ("b b:x", "name"),
            ("oidc:x", "reserved"),
            ("b*b:x", "name"),
            (good.trim_end(), "twice"),
            (&good[..50], "cut off"),
        ] {
            let bad = if why == "cut off" { bad.replacen("alice", "bob", 1) } else { bad.to_owned() };
            let (line, error) = Accounts::parse(&format!("{good}# x\n{bad}\n")).unwrap_err();
            assert_eq!(line, 3, "{bad}");
            assert!(error.contains(why) && !error.contains("hunter2"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_is_checked_against_a_real_hash_all_the_same() {
        let keys = Fingerprints::new(&[3; 32]);
        let accounts = Accounts::parse(&format!("alice:{}\nbob:{}\n", hash(), hash())).unwrap();
        let (target, known) = accounts.target("alice", &keys);
        assert!(known && target.verify("hunter2"));
        let (one, known) = accounts.target("eve", &keys);
        let (again, _) = accounts.target("eve", &keys);
        assert!(!known && one == again && accounts.hashes.contains(&one));
        assert_eq!(Accounts::default().target("eve", &keys), (Hash::decoy(), false));
    }
}
