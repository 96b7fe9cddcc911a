//! curl: a client with every TLS and HTTP/2 knob, and none of our own code.

use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Program;
use crate::shoalctl::Identity;
use crate::tool;

/// Between the body and what curl knows of the answer; no body of ours ends with it.
const MARK: &str = "\n--curl--";
/// How long a request may take in seconds.
const TIME_MAX: &str = "60";

/// A request that is being written.
#[derive(Clone, Debug)]
pub struct Curl {
    program: Program,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, 0 when there was no answer.
    pub status: u16,
    /// The version of HTTP: `1.1` or `2`.
    pub version: String,
    /// The header `Location` as it came; empty without.
    pub location: String,
    /// The body.
    pub body: Vec<u8>,
    /// What curl complained of.
    pub complaint: String,
}

impl Curl {
    /// GET of a URL.
    pub fn new(url: &str) -> Result<Self> {
        let words = ["--silent", "--show-error", "--max-time", TIME_MAX, "--write-out"];
        let facts = format!("{MARK}%{{http_code}} %{{http_version}} %header{{location}}");
        // Neither the machine's ~/.curlrc nor its proxies count.
        let program = tool::call("curl", "curl", ["--disable", "--noproxy", "*"])?.args(words).arg(facts);
        Ok(Self { program: program.arg(url) })
    }

    /// One more argument or several.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Self {
        self.program = self.program.args(words);
        self
    }

    /// Trusts this authority and no other.
    #[must_use]
    pub fn trusting(self, ca: &Path) -> Self {
        self.with(&["--cacert", &ca.display().to_string()])
    }

    /// Shows this certificate, and trusts its authority.
    #[must_use]
    pub fn showing(self, identity: &Identity) -> Self {
        let (certificate, key) = (identity.certificate.display().to_string(), identity.key.display());
        self.trusting(&identity.ca).with(&["--cert", &certificate, "--key", &key.to_string()])
    }

    /// Sends it.
    pub fn send(self) -> Result<Answer> {
        let output = tool::output(self.program)?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let mark = output.stdout.windows(MARK.len()).rposition(|bytes| bytes == MARK.as_bytes());
        let mark = mark.with_context(|| format!("curl says nothing: {complaint}"))?;
        let facts = String::from_utf8_lossy(&output.stdout[mark + MARK.len()..]).into_owned();
        let mut facts = facts.splitn(3, ' ').map(str::to_owned);
        let status = facts.next().context("no status")?.parse()?;
        let (version, location) = (facts.next().unwrap_or_default(), facts.next().unwrap_or_default());
        Ok(Answer { status, version, location, body: output.stdout[..mark].to_vec(), complaint })
    }
}
