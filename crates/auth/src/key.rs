//! Keys of our own tokens: Ed25519 or P-256, in PEM (PKCS #8 and SubjectPublicKeyInfo, as `openssl genpkey` and `openssl pkey -pubout`
//! write them).
//!
//! A key is known by its RFC 7638 thumbprint, so the same key has the same name in every process, and rotating keys is: sign with the
//! new file, list the old one among the keys that are still accepted.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use sha2::{Digest, Sha256};

use crate::rejection::AuthError;

/// The largest key file in bytes; a P-256 key has some 250.
const FILE_LEN_MAX: u64 = 64 * 1024;
/// What stands before the 32 bytes of an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the uncompressed point of a P-256 public key in a SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that checks tokens.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: String,
    pub(crate) key: DecodingKey,
}

/// A key that signs tokens.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) verifying: VerifyingKey,
    pub(crate) key: EncodingKey,
}

impl VerifyingKey {
    /// Reads a public key, or the public half of a private one. Blocks.
    pub(crate) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = crate::files::read(path, FILE_LEN_MAX)?;
        Self::parse(&text).map_err(|why| AuthError::Key { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (label, der) = pem(text)?;
        if label == "PRIVATE KEY" {
            return SigningKey::from_pkcs8(&der).map(|key| key.verifying);
        }
        match (der.strip_prefix(&ED25519_SPKI), der.strip_prefix(&P256_SPKI)) {
            _ if label != "PUBLIC KEY" => Err(form(&label)),
            (Some(key), _) if key.len() == 32 => Ok(Self::ed25519(key)),
            (_, Some(point)) if point.len() == 65 => Ok(Self::p256(point)),
            _ => Err("it is neither an Ed25519 nor a P-256 public key".to_owned()),
        }
    }

    fn ed25519(public: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        let kid = thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        Self { algorithm: Algorithm::EdDSA, kid, key: DecodingKey::from_ed_der(public) }
    }

    /// `point` is uncompressed: 4, x, y.
    fn p256(point: &[u8]) -> Self {
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let kid = thumbprint(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
        Self { algorithm: Algorithm::ES256, kid, key: DecodingKey::from_ec_der(point) }
    }
}

impl SigningKey {
    /// Reads the key in `path`; makes one there when there is no such file. Blocks.
    pub(crate) fn read_or_make(path: &Path) -> Result<Self, AuthError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path)?,
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                tracing::warn!(path = %path.display(), "others can read the key of our tokens; chmod 600 it");
            }
            _ => {}
        }
        let text = crate::files::read(path, FILE_LEN_MAX)?;
        let parsed = pem(&text).and_then(|(label, der)| match label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(&der),
            label => Err(form(label)),
        });
        parsed.map_err(|why| AuthError::Key { path: path.to_owned(), why })
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let verifying = VerifyingKey::ed25519(pair.public_key().as_ref());
            return Ok(Self { verifying, key: EncodingKey::from_ed_der(der) });
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| "it is neither an Ed25519 nor a P-256 private key".to_owned())?;
        let verifying = VerifyingKey::p256(pair.public_key().as_ref());
        Ok(Self { verifying, key: EncodingKey::from_ec_der(der) })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.algorithm, self.kid)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.verifying)
    }
}

/// Makes an Ed25519 key that only we can read. It appears whole or not at all.
fn make(path: &Path) -> Result<(), AuthError> {
    let key = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(|_| AuthError::Random)?;
    let body = STANDARD.encode(key.as_ref());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let fail = |source| AuthError::Write { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(fail)?;
    let draft = path.with_extension("new");
    // Left over from a crash in the middle of this; it may not be there.
    _ = fs::remove_file(&draft);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.and_then(|()| fs::rename(&draft, path)).map_err(fail)?;
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(fail)?;
    tracing::info!(path = %path.display(), "a key for our tokens was made");
    Ok(())
}

fn form(label: &str) -> String {
    format!(
        "`{label}` is not a form that is read; `openssl pkcs8 -topk8 -nocrypt` and `openssl pkey -pubout` write those that are"
    )
}

fn thumbprint(jwk: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(jwk.as_bytes()))
}

/// The first block of a PEM text: its label and its bytes.
fn pem(text: &str) -> Result<(String, Vec<u8>), String> {
    let missing = || "it has no PEM block (-----BEGIN …-----)".to_owned();
    let (_, rest) = text.split_once("-----BEGIN ").ok_or_else(missing)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(missing)?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----")).ok_or("its PEM block does not end")?;
    let body: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(body).map_err(|_| "its PEM block is not base64".to_owned())?;
    Ok((label.to_owned(), der))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A: the key, and A.3: its thumbprint.
    const RFC8037: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_is_made_once_and_only_we_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth/token.pem");
        let first = SigningKey::read_or_make(&path).unwrap();
        let again = SigningKey::read_or_make(&path).unwrap();
        assert_eq!(first.verifying.kid, again.verifying.kid);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(VerifyingKey::read(&path).unwrap().kid, first.verifying.kid);
    }

    #[test]
    fn the_thumbprint_of_the_rfc() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, RFC8037).unwrap();
        let key = SigningKey::read_or_make(&path).unwrap();
        assert_eq!(key.verifying.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.verifying.algorithm, Algorithm::EdDSA);
    }

    #[test]
    fn files_that_are_no_keys_are_named_with_the_reason_and_without_their_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        for (text, why) in [
            ("", "no PEM"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA", "does not end"),
            ("-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----", "base64"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "neither"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "pkcs8"),
        ] {
            fs::write(&path, text).unwrap();
            let error = SigningKey::read_or_make(&path).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("key.pem") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
