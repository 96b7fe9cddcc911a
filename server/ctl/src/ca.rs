//! `shoalctl ca`: a private certificate authority in a directory, and the certificates by which our processes know one another.
//!
//! Made for those who have no authority of their own: one command makes it, one more makes a node's certificate, and both are
//! ordinary X.509 on P-256, which Go, OpenSSL and browsers know. Non-goals: revocation (certificates are short-lived instead) and
//! keys in hardware. Price: whoever reads the directory can make nodes, so it belongs on one machine, not on all of them.

mod authority;
mod certificate;
mod command;
mod files;
mod issue;
mod node;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use time::OffsetDateTime;

use crate::output::Report;

use authority::Authority;
use certificate::Certificate;
pub(crate) use command::CaCommand;
use issue::Wish;

/// Does what the command says and tells what there is now. Needs no server.
pub(crate) fn run(command: &CaCommand) -> Result<Report> {
    let now = OffsetDateTime::now_utc();
    match command {
        CaCommand::Init { directory, name, days } => {
            let authority = Authority::create(directory, name, *days, now)?;
            Ok(report(&[authority.certificate().clone()], now))
        }
        CaCommand::Issue { directory, name, kind, hosts, days, out } => {
            let authority = Authority::open(directory)?;
            let wish = Wish { name: name.clone(), kind: *kind, hosts: hosts.clone(), days: *days };
            let certificate = issue::issue(&authority, &wish, out.as_deref().unwrap_or(directory), now)?;
            Ok(report(&[certificate], now))
        }
        CaCommand::List { directory } => Ok(report(&listed(directory)?, now)),
        CaCommand::Show { file } => {
            let certificates = certificate::read_all(file)?;
            Ok(report(&certificates, now))
        }
        CaCommand::Rotate { directory, days, finish: false } => {
            let authority = Authority::open(directory)?.rotate(*days, now)?;
            Ok(report(&authority.trusted()?, now))
        }
        CaCommand::Rotate { directory, finish: true, .. } => {
            let authority = Authority::open(directory)?;
            authority.finish_rotation(now)?;
            Ok(report(&authority.trusted()?, now))
        }
    }
}

/// The authorities, then the newest certificate of each node, by name.
fn listed(directory: &Path) -> Result<Vec<Certificate>> {
    let mut certificates = Authority::open(directory)?.trusted()?;
    certificates.extend(issue::newest(directory)?);
    Ok(certificates)
}

/// What there is to know of certificates.
fn report(certificates: &[Certificate], now: OffsetDateTime) -> Report {
    let row = |certificate: &Certificate| {
        vec![
            certificate.name.clone(),
            certificate.kind_word().to_owned(),
            certificate.hosts.join(", "),
            certificate.not_after_text(),
            certificate.state(now).to_owned(),
            certificate.fingerprint.chars().take(16).collect(),
        ]
    };
    let facts: Vec<_> = certificates.iter().map(|certificate| certificate.to_json(now)).collect();
    Report {
        json: json!({ "certificates": facts }),
        columns: vec!["NAME", "KIND", "HOSTS", "NOT AFTER", "STATE", "FINGERPRINT"],
        rows: certificates.iter().map(row).collect(),
        complete: true,
    }
}
