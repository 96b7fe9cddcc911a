//! The authority: a self-signed certificate, its key, and the files in which both are.
//!
//! `ca.pem` is what everybody trusts. During a rotation it holds two certificates, the one that signs first; `ca-bundle.pem` is the
//! same under the name that other programs expect of such a file. The certificate that signs is the one whose key is `ca-key.pem`,
//! so a rotation can be killed at any moment and the directory is still an authority.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use time::{Duration, OffsetDateTime};

use super::certificate::{self, Certificate};
use super::files::{self, Secrecy};
use super::issue;

/// What everybody trusts.
const CERTIFICATES: &str = "ca.pem";
/// The key that signs.
const KEY: &str = "ca-key.pem";
/// The same as `ca.pem` while there are two authorities.
const BUNDLE: &str = "ca-bundle.pem";

/// Certificates are valid from a little before they are made, for nodes whose clocks are behind.
pub(super) const CLOCK_SKEW: Duration = Duration::hours(1);

/// An authority that can sign.
pub(crate) struct Authority {
    directory: PathBuf,
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    /// Makes an authority in `directory`, which must not have one.
    pub(crate) fn create(directory: &Path, name: &str, days: u16, now: OffsetDateTime) -> Result<Self> {
        for name in [CERTIFICATES, KEY, BUNDLE] {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} is there already and is not overwritten; `shoalctl ca rotate` replaces an authority without an interruption",
                    path.display()
                );
            }
        }
        files::make_directory(directory)?;
        let (certificate, key) = sign_itself(name, days, now)?;
        // The key first: a certificate without one looks like an authority and is none.
        files::create(&directory.join(KEY), &key.serialize_pem(), Secrecy::Private)?;
        files::create(&directory.join(CERTIFICATES), &certificate.pem, Secrecy::Public)?;
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    /// Reads the authority in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let key_path = directory.join(KEY);
        let key = files::read(&key_path).with_context(|| {
            format!("there is no authority in {}; `shoalctl ca init` makes one", directory.display())
        })?;
        let key = KeyPair::from_pem(&key)
            .map_err(|error| anyhow::anyhow!("{} is not a usable key: {error}", key_path.display()))?;
        let known = trusted_in(directory)?;
        let Some(certificate) = known.into_iter().find(|known| known.public_key == key.der_bytes()) else {
            bail!("{} belongs to no certificate in {CERTIFICATES} or {BUNDLE}", key_path.display());
        };
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    /// The certificate that signs.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every certificate that is trusted, the one that signs first.
    pub(crate) fn trusted(&self) -> Result<Vec<Certificate>> {
        let mut trusted = vec![self.certificate.clone()];
        let others = trusted_in(&self.directory)?;
        trusted.extend(others.into_iter().filter(|other| other.fingerprint != self.certificate.fingerprint));
        Ok(trusted)
    }

    /// The text of `ca.pem` for a node.
    pub(crate) fn bundle(&self) -> Result<String> {
        Ok(self.trusted()?.iter().map(|certificate| certificate.pem.as_str()).collect())
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>> {
        Issuer::from_ca_cert_pem(&self.certificate.pem, &self.key).context("the authority cannot sign")
    }

    /// Makes a new authority that signs from now on; the old one stays trusted.
    pub(crate) fn rotate(self, days: u16, now: OffsetDateTime) -> Result<Self> {
        let trusted = self.trusted()?;
        if trusted.len() > 1 {
            bail!(
                "a rotation is under way; end it with `shoalctl ca rotate {} --finish` when every node has a certificate of the new authority",
                self.directory.display()
            );
        }
        let (certificate, key) = sign_itself(&self.certificate.name, days, now)?;
        let bundle = format!("{}{}", certificate.pem, self.certificate.pem);
        files::replace(&self.directory.join(BUNDLE), &bundle, Secrecy::Public)?;
        files::replace_pair(
            (&self.directory.join(CERTIFICATES), &bundle),
            (&self.directory.join(KEY), &key.serialize_pem()),
        )?;
        Ok(Self { directory: self.directory, certificate, key })
    }

    /// Ends the trust in every authority but the one that signs. Refused while a node's newest certificate is of another one.
    pub(crate) fn finish_rotation(&self, now: OffsetDateTime) -> Result<()> {
        let left: Vec<_> = issue::newest(&self.directory)?
            .into_iter()
            .filter(|node| node.not_after > now && node.issuer != self.certificate.subject)
            .map(|node| node.name)
            .collect();
        if !left.is_empty() {
            bail!(
                "these nodes still have a certificate of the old authority; issue theirs again first: {}",
                left.join(", ")
            );
        }
        files::replace(&self.directory.join(CERTIFICATES), &self.certificate.pem, Secrecy::Public)?;
        match fs::remove_file(self.directory.join(BUNDLE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove ca-bundle.pem")
            }
            _ => Ok(()),
        }
    }
}

/// The certificates in `ca.pem` and `ca-bundle.pem`, each once.
fn trusted_in(directory: &Path) -> Result<Vec<Certificate>> {
    let mut trusted = certificate::read_all(&directory.join(CERTIFICATES))?;
    let bundle = directory.join(BUNDLE);
    if bundle.exists() {
        for other in certificate::read_all(&bundle)? {
            if trusted.iter().all(|known| known.fingerprint != other.fingerprint) {
                trusted.push(other);
            }
        }
    }
    Ok(trusted)
}

/// A key and a certificate of its own. P-256, because Go, OpenSSL and browsers all take it; browsers do not take Ed25519.
fn sign_itself(name: &str, days: u16, now: OffsetDateTime) -> Result<(Certificate, KeyPair)> {
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        bail!("the authority's name has 1 to 64 letters");
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    // Two authorities of one rotation must not look alike: clients find an issuer by its whole name.
    subject.push(DnType::OrganizationalUnitName, format!("{:016x}", fastrand::u64(..)));
    params.distinguished_name = subject;
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + Duration::days(days.into());
    // It signs nodes and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&key).context("cannot sign")?;
    let certificate = certificate::parse_all(&signed.pem())?.pop().context("the new certificate is empty")?;
    Ok((certificate, key))
}
