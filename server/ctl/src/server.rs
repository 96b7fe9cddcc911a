//! The server as seen from its admin port.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::Request;
use serde_json::Value;
use shoal_api::Base;
use shoal_http::{Body, Client, ClientError};

/// How long one answer may take. Everything asked here is answered from memory or from a small database.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer in bytes that is read: a report names a hundred of each thing.
const ANSWER_LEN_MAX: usize = 8 << 20;

/// A server to ask.
pub(crate) struct Server {
    pub(crate) http: Client,
    admin: Base,
}

impl Server {
    pub(crate) fn new(http: Client, admin: &str) -> Result<Self> {
        Ok(Self { http, admin: Base::parse(admin).context("--server")? })
    }

    /// The admin port.
    pub(crate) const fn admin(&self) -> &Base {
        &self.admin
    }

    /// What the admin port says at `path`.
    pub(crate) async fn get(&self, path: &str, timeout: Duration) -> Result<Value> {
        let answer = self.http.get_json(&self.admin.url(path), timeout).await;
        answer.with_context(|| self.not_answered())
    }

    /// Asks the admin port to do something, and what it says of it.
    pub(crate) async fn post(&self, path: &str, timeout: Duration) -> Result<Value> {
        let request = Request::post(self.admin.url(path)).body(Body::empty())?;
        let answer = self.http.exchange(request, ANSWER_LEN_MAX, timeout).await;
        let answer = answer.map_err(|error| match refusal(&error) {
            Some(why) => anyhow!("the server refuses: {why}"),
            None => anyhow::Error::from(error).context(self.not_answered()),
        })?;
        Ok(serde_json::from_slice(&answer)?)
    }

    fn not_answered(&self) -> String {
        format!(
            "cannot ask the server at {}; --server is the URL of its admin port (usually 15005)",
            self.admin
        )
    }
}

/// Why the admin port did not do it, when that is what answered.
fn refusal(error: &ClientError) -> Option<String> {
    let ClientError::Status { body, .. } = error else { return None };
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer["error"].as_str().map(str::to_owned)
}
