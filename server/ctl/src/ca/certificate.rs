//! What a certificate says, read from its PEM.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shoal_oci::Digest;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::files;
use super::node::Kind;

/// A certificate with less than this left is shown as one to renew: a month leaves time for holidays.
const RENEWAL_TIME: Duration = Duration::days(30);

/// A certificate and the facts in it.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// The certificate itself.
    pub(crate) pem: String,
    /// Common name of the subject.
    pub(crate) name: String,
    /// The whole name of the subject, and of the issuer.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Whether it may sign others.
    pub(crate) is_authority: bool,
    /// What the node is, when one of ours.
    pub(crate) kind: Option<Kind>,
    /// Names and addresses.
    pub(crate) hosts: Vec<String>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    /// Serial number in hexadecimal.
    pub(crate) serial: String,
    /// SHA-256 of the certificate in hexadecimal.
    pub(crate) fingerprint: String,
    /// The raw public key: whoever has its other half can use the certificate.
    pub(crate) public_key: Vec<u8>,
}

/// The certificates in a file, in its order.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Certificate>> {
    let certificates = parse_all(&files::read(path)?).with_context(|| format!("in {}", path.display()))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(certificates)
}

/// The certificates in a text.
pub(crate) fn parse_all(text: &str) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.context("the PEM is damaged")?;
        if block.label == "CERTIFICATE" {
            certificates.push(Certificate::read(&block)?);
        }
    }
    Ok(certificates)
}

impl Certificate {
    fn read(block: &Pem) -> Result<Self> {
        let x509 = block.parse_x509().context("the certificate is damaged")?;
        let (hosts, kind) = alternative_names(&x509)?;
        let time = |seconds| OffsetDateTime::from_unix_timestamp(seconds).context("a date is out of range");
        let name = x509.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            pem: encode(&block.contents),
            name: name.unwrap_or_default().to_owned(),
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            is_authority: x509.is_ca(),
            kind,
            hosts,
            not_before: time(x509.validity().not_before.timestamp())?,
            not_after: time(x509.validity().not_after.timestamp())?,
            serial: x509.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            fingerprint: Digest::sha256(&block.contents).to_hex(),
            public_key: x509.public_key().subject_public_key.data.to_vec(),
        })
    }

    pub(crate) fn kind_word(&self) -> &'static str {
        match self.kind {
            _ if self.is_authority => "authority",
            Some(kind) => kind.as_str(),
            None => "other",
        }
    }

    pub(crate) fn state(&self, now: OffsetDateTime) -> &'static str {
        if now < self.not_before {
            "not yet valid"
        } else if now >= self.not_after {
            "expired"
        } else if now + RENEWAL_TIME >= self.not_after {
            "renew"
        } else {
            "valid"
        }
    }

    pub(crate) fn not_after_text(&self) -> String {
        self.not_after.date().to_string()
    }

    pub(crate) fn to_json(&self, now: OffsetDateTime) -> Value {
        let time = |time: OffsetDateTime| time.format(&Rfc3339).ok();
        json!({
            "name": self.name,
            "kind": self.kind_word(),
            "issuer": self.issuer,
            "hosts": self.hosts,
            "not_before": time(self.not_before),
            "not_after": time(self.not_after),
            "state": self.state(now),
            "serial": self.serial,
            "fingerprint": self.fingerprint,
        })
    }
}

/// Hosts, and the kind that a URI of ours names.
fn alternative_names(x509: &X509Certificate<'_>) -> Result<(Vec<String>, Option<Kind>)> {
    let names = x509.subject_alternative_name().context("the alternative names are damaged")?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let (mut hosts, mut kind) = (Vec::new(), None);
    for name in names {
        match name {
            GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => hosts.extend(address(bytes).map(|address| address.to_string())),
            GeneralName::URI(uri) => kind = kind.or(Kind::of_uri(uri)),
            _ => {}
        }
    }
    Ok((hosts, kind))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Letters in a line of PEM (RFC 7468, section 2).
const LINE_LEN: usize = 64;

/// PEM of a certificate.
fn encode(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_LEN));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
