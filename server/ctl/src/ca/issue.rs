//! Node certificates: made, renewed and found again.
//!
//! Every certificate that was ever issued is kept, without its key, under `issued/` in the authority's directory: that is the list of
//! who can call itself a node, and where a renewal finds the hosts of before.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};

use super::authority::{Authority, CLOCK_SKEW};
use super::certificate::{self, Certificate};
use super::files::{self, Secrecy};
use super::node::{Host, Kind, NodeName};

/// Where issued certificates are kept.
const ISSUED: &str = "issued";

/// A certificate that somebody wants.
pub(crate) struct Wish {
    pub(crate) name: NodeName,
    pub(crate) kind: Kind,
    pub(crate) hosts: Vec<Host>,
    pub(crate) days: u16,
}

/// Makes a certificate and its key and writes both to `out`, in place of those of before.
pub(crate) fn issue(
    authority: &Authority,
    wish: &Wish,
    out: &Path,
    now: OffsetDateTime,
) -> Result<Certificate> {
    let signer = authority.certificate();
    if signer.not_after <= now {
        bail!("the authority has expired; `shoalctl ca rotate` makes a new one");
    }
    let former = newest(authority.directory())?;
    let former = former.iter().find(|former| former.name == wish.name.as_str());
    let hosts = hosts(wish, former)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
    // A certificate that outlives its authority would only look valid.
    let not_after = (now + Duration::days(wish.days.into())).min(signer.not_after);
    let params = params(wish, &hosts, now, not_after)?;
    let signed = params.signed_by(&key, &authority.issuer()?).context("cannot sign")?;
    let certificate = certificate::parse_all(&signed.pem())?.pop().context("the new certificate is empty")?;
    remember(authority.directory(), &certificate, now)?;
    files::make_directory(out)?;
    if out != authority.directory() {
        files::replace(&out.join("ca.pem"), &authority.bundle()?, Secrecy::Public)?;
    }
    let name = wish.name.as_str();
    files::replace_pair(
        (&out.join(format!("{name}.pem")), &certificate.pem),
        (&out.join(format!("{name}-key.pem")), &key.serialize_pem()),
    )?;
    Ok(certificate)
}

/// The newest certificate of every node, by name.
pub(crate) fn newest(directory: &Path) -> Result<Vec<Certificate>> {
    let mut newest = BTreeMap::new();
    for path in issued(&directory.join(ISSUED))? {
        for certificate in certificate::read_all(&path)? {
            newest.insert(certificate.name.clone(), certificate);
        }
    }
    Ok(newest.into_values().collect())
}

/// The files of issued certificates, those of one node from the oldest to the newest.
fn issued(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut paths = entries.with_context(|| format!("cannot read {}", directory.display()))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
    // The names end in the time of issue, in digits of one width.
    paths.sort_unstable();
    Ok(paths)
}

/// Keeps a certificate in the list of issued ones.
fn remember(directory: &Path, certificate: &Certificate, now: OffsetDateTime) -> Result<()> {
    let directory = directory.join(ISSUED);
    files::make_directory(&directory)?;
    let path = directory.join(format!("{}.{:020}.pem", certificate.name, now.unix_timestamp_nanos()));
    files::create(&path, &certificate.pem, Secrecy::Public)
}

/// The hosts that the certificate will name: those that were asked for, else those of the certificate before, else the name.
fn hosts(wish: &Wish, former: Option<&Certificate>) -> Result<Vec<Host>> {
    if let Some(former) = former.filter(|former| former.kind != Some(wish.kind)) {
        bail!("{} is of kind {}; choose another name", wish.name.as_str(), former.kind_word());
    }
    if !wish.hosts.is_empty() {
        return Ok(wish.hosts.clone());
    }
    if let Some(former) = former {
        return former.hosts.iter().map(|host| host.parse()).collect();
    }
    if !wish.kind.listens() {
        return Ok(Vec::new());
    }
    let name = wish.name.as_str();
    let host = name.parse().with_context(|| format!("name the hosts of {name} with --host"))?;
    Ok(vec![host])
}

fn params(
    wish: &Wish,
    hosts: &[Host],
    now: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams> {
    let name = wish.name.as_str();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - CLOCK_SKEW;
    params.not_after = not_after;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if wish.kind.listens() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names.push(SanType::URI(wish.kind.uri(name).try_into()?));
    for host in hosts {
        params.subject_alt_names.push(match host {
            Host::Address(address) => SanType::IpAddress(*address),
            Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    Ok(params)
}
