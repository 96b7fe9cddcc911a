//! Section `auth.grants`: what agents show one another to get pieces.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_config::{ConfigError, Duration};
use shoal_grant::{KEYS_MAX, LIFETIME, LIFETIME_MAX, LIFETIME_MIN, PublicKey};

/// What the tracker gives to those who may have a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The private key that signs them (Ed25519, PKCS #8). Unset: auth/grant.pem in the data directory. Made when it is not there.
    pub key_file: Option<PathBuf>,
    /// Public keys of the cluster's other servers (the first line of their auth/grant.keys).
    pub verification_keys: Vec<String>,
    /// How long a grant is good.
    pub lifetime: Duration,
}

impl Default for Grants {
    fn default() -> Self {
        Self { key_file: None, verification_keys: Vec::new(), lifetime: Duration(LIFETIME) }
    }
}

impl Grants {
    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        let mut add = |key: &str, what: String, remedy: &str| {
            add(ConfigError::semantic(format!("auth.grants.{key}"), what, remedy));
        };
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&self.lifetime.get()) {
            let remedy =
                "1h suits most: a grant cannot be called back, and agents renew theirs by themselves";
            add("lifetime", "is not between five minutes and a day".to_owned(), remedy);
        }
        let remedy = "copy the first line of auth/grant.keys in that server's data directory";
        for (at, key) in self.verification_keys.iter().enumerate() {
            if let Err(why) = key.parse::<PublicKey>() {
                add(&format!("verification_keys.{at}"), format!("is not a public key: {why}"), remedy);
            }
        }
        if self.verification_keys.len() >= KEYS_MAX {
            add(
                "verification_keys",
                format!("has more than {} keys", KEYS_MAX - 1),
                "remove those of servers that are gone",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told() {
        let problems = |grants: &Grants| {
            let mut found = Vec::new();
            grants.problems(&mut |error| found.push(error.path));
            found
        };
        assert_eq!(problems(&Grants::default()), [""; 0]);
        let key = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=".to_owned();
        let good = Grants { verification_keys: vec![key], ..Grants::default() };
        assert_eq!(problems(&good), [""; 0]);
        let bad = Grants {
            verification_keys: vec!["hunter2".to_owned(), "AAAA".to_owned()],
            lifetime: Duration::secs(10),
            ..Grants::default()
        };
        let paths =
            ["auth.grants.lifetime", "auth.grants.verification_keys.0", "auth.grants.verification_keys.1"];
        assert_eq!(problems(&bad), paths);
    }
}
