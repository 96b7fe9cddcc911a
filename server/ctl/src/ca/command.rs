//! The words of `shoalctl ca`.

use std::path::PathBuf;

use clap::Subcommand;

use super::node::{Host, Kind, NodeName};

/// Ten years: an authority is trusted by hand on every node, which nobody does often.
const AUTHORITY_DAYS: u16 = 3650;
/// A year: a certificate that leaks is of use until then, since there is no revocation.
const NODE_DAYS: u16 = 365;

/// A private certificate authority in a directory.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Makes an authority: ca.pem and ca-key.pem; refuses where there is one
    Init {
        /// Directory to make or to fill
        directory: PathBuf,
        /// Name that certificates show as their issuer
        #[arg(long, default_value = "Shoal CA")]
        name: String,
        /// How long it is valid
        #[arg(long, default_value_t = AUTHORITY_DAYS, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
    },
    /// Makes a node's certificate and key, or renews them: NAME.pem and NAME-key.pem
    Issue {
        /// Directory of the authority
        directory: PathBuf,
        /// Name of the node; also the file names
        name: NodeName,
        /// What the node is
        #[arg(long = "as", value_enum, value_name = "KIND")]
        kind: Kind,
        /// Name or address under which the node is reached; may be repeated. When renewing: those of before if left out
        #[arg(long = "host", value_name = "NAME-OR-IP", value_delimiter = ',')]
        hosts: Vec<Host>,
        /// How long it is valid, but not beyond the authority
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        /// Directory for the files, with a ca.pem beside them; the authority's own if left out
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The authority and the newest certificate of every node
    List {
        /// Directory of the authority
        directory: PathBuf,
    },
    /// What a file of certificates says
    Show {
        /// File in PEM
        file: PathBuf,
    },
    /// Makes a new authority beside the old one: both are trusted, the new one signs
    Rotate {
        /// Directory of the authority
        directory: PathBuf,
        /// How long the new one is valid
        #[arg(long, default_value_t = AUTHORITY_DAYS, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        /// Ends the rotation instead: the old authority is no longer trusted
        #[arg(long)]
        finish: bool,
    },
}
