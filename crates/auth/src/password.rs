//! Stored passwords: bcrypt and argon2id, nothing weaker.
//!
//! The formats of old password files (crypt, MD5, SHA-1) are refused by name, because a file that is silently half understood locks
//! people out one by one. What a hash may cost is bounded: a single line must not be able to occupy the server.

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;

/// The length of a bcrypt hash in modular crypt format; a shorter one was cut off.
const BCRYPT_LEN: usize = 60;
/// The dearest bcrypt that is taken: 2^15 rounds are about two seconds.
const BCRYPT_COST_MAX: u32 = 15;
/// The cost of the hashes that we make: a quarter of a second for us, and for whoever guesses.
const BCRYPT_COST: u32 = 12;
/// bcrypt looks at no more of a password.
const BCRYPT_PASSWORD_LEN_MAX: usize = 72;
/// The dearest argon2id that is taken, in KiB and passes: as many of them as slots may run at once.
const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
const ARGON2_PASSES_MAX: u32 = 16;

/// A hash that nobody's password has, for files without entries. Its cost is that of the hashes that we make.
const DECOY: &str = "$2b$12$abcdefghijklmnopqrstuuA7c9SwJAbuUSmbHXxbvO25E.r8kaJCa";

/// One stored password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    Bcrypt(String),
    Argon2(String),
}

impl Hash {
    /// Reads a hash; the error is a sentence for the operator and holds nothing of the hash.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if is(&["$2a$", "$2b$", "$2y$"]) {
            bcrypt_hash(text)
        } else if is(&["$argon2id$"]) {
            argon2_hash(text)
        } else {
            let what = match text {
                _ if is(&["$argon2"]) => "argon2i and argon2d are",
                _ if is(&["$apr1$", "$1$"]) => "MD5 is",
                _ if is(&["{SHA}"]) => "SHA-1 is",
                _ if is(&["$5$", "$6$", "$y$"]) => "crypt hashes are",
                _ => "this format is",
            };
            Err(format!("{what} not taken; make the line with `shoalctl password NAME` or `htpasswd -B`"))
        }
    }

    pub(crate) fn decoy() -> Self {
        Self::Bcrypt(DECOY.to_owned())
    }

    /// Whether `password` is the one. Takes as long for a wrong one as for the right one, and a while.
    pub(crate) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }

    /// The text of the hash: a stored secret.
    pub(crate) fn reveal(&self) -> &str {
        match self {
            Self::Bcrypt(hash) | Self::Argon2(hash) => hash,
        }
    }
}

fn bcrypt_hash(text: &str) -> Result<Hash, String> {
    if text.len() != BCRYPT_LEN || !text.is_ascii() {
        return Err(format!(
            "a bcrypt hash has {BCRYPT_LEN} characters; this one is cut off or was pasted badly"
        ));
    }
    let parts: bcrypt::HashParts = text.parse().map_err(|_| "this is not a bcrypt hash".to_owned())?;
    if parts.get_cost() > BCRYPT_COST_MAX {
        return Err(format!("a bcrypt cost above {BCRYPT_COST_MAX} would let one login occupy the server"));
    }
    Ok(Hash::Bcrypt(text.to_owned()))
}

fn argon2_hash(text: &str) -> Result<Hash, String> {
    let hash =
        PasswordHash::new(text).map_err(|_| "this is not an argon2id hash in PHC format".to_owned())?;
    let params =
        argon2::Params::try_from(&hash).map_err(|_| "the parameters of argon2id are not valid".to_owned())?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("the argon2id hash is cut off".to_owned());
    }
    if params.m_cost() > ARGON2_MEMORY_KIB_MAX || params.t_cost() > ARGON2_PASSES_MAX {
        return Err(format!(
            "argon2id with more than {ARGON2_MEMORY_KIB_MAX} KiB or {ARGON2_PASSES_MAX} passes would let one login occupy the server"
        ));
    }
    Ok(Hash::Argon2(text.to_owned()))
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "Bcrypt(<redacted>)",
            Self::Argon2(_) => "Argon2(<redacted>)",
        })
    }
}

/// A line for a password file: the name and a bcrypt hash of the password. Takes a quarter of a second.
///
/// # Errors
/// A sentence, when the name or the password cannot be taken.
pub fn password_line(name: &str, password: &str) -> Result<String, String> {
    crate::accounts::check_name(name)?;
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.len() > BCRYPT_PASSWORD_LEN_MAX {
        return Err(format!(
            "bcrypt looks at {BCRYPT_PASSWORD_LEN_MAX} bytes of a password; this one is longer"
        ));
    }
    let parts = bcrypt::hash_with_result(password, BCRYPT_COST).map_err(|error| error.to_string())?;
    Ok(format!("{name}:{}", parts.format_for_version(bcrypt::Version::TwoY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_that_are_taken() {
        let bcrypt = bcrypt::hash_with_result("hunter2", 4).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = Hash::parse(&bcrypt.format_for_version(version)).unwrap();
            assert!(hash.verify("hunter2") && !hash.verify("hunter3") && !hash.verify(""));
        }
        // argon2-cffi: PasswordHasher(1, 8, 1).hash("hunter2") in form; made here with the same parameters.
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let text =
            argon2::PasswordHasher::hash_password_with_salt(&argon2, b"hunter2", b"some salt of it").unwrap();
        let hash = Hash::parse(&text.to_string()).unwrap();
        assert!(hash.verify("hunter2") && !hash.verify("hunter3"));
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn what_is_weak_broken_or_too_dear_is_refused_with_a_reason() {
        let good = bcrypt::hash("x", 4).unwrap();
        for (text, why) in [
            ("$apr1$abc$def", "MD5"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("$6$salt$hash", "crypt"),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aaaa", "argon2i"),
            ("hunter2", "this format"),
            ("", "this format"),
            (&good[..40], "cut off"),
            (&good.replacen("$04$", "$31$", 1), "occupy"),
            (&good.replacen("$04$", "$xx$", 1), "not a bcrypt"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", "cut off"),
            (
                "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "occupy",
            ),
        ] {
            let error = Hash::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(text.len() < 8 || !error.contains(text));
        }
    }

    #[test]
    fn lines_are_made_that_are_read() {
        let line = password_line("alice", "hunter2").unwrap();
        let (name, hash) = line.split_once(':').unwrap();
        assert!(
            name == "alice" && hash.starts_with("$2y$12$") && Hash::parse(hash).unwrap().verify("hunter2")
        );
        assert!(password_line("a:b", "x").is_err() && password_line("a", "").is_err());
        assert!(password_line("a", &"x".repeat(73)).is_err());
    }

    #[test]
    fn the_decoy_costs_what_a_password_costs_and_is_nobodys() {
        let Hash::Bcrypt(text) = Hash::decoy() else { panic!() };
        assert_eq!(text.parse::<bcrypt::HashParts>().unwrap().get_cost(), BCRYPT_COST);
        assert!(bcrypt_hash(&text).is_ok());
    }
}
