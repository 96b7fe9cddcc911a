//! The ready file: where a program that was started on port 0 says which addresses it got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Process;
use crate::wait::wait_until;

/// How long a program may take to bind its listeners and recover its data. Generous, because CI machines are shared.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The addresses of a program's listeners by name, such as `registry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    listeners: BTreeMap<String, SocketAddr>,
}

impl Ready {
    /// Waits until `process` has written the file, or has ended.
    pub fn wait(process: &mut Process, file: &Path) -> Result<Self> {
        let found = wait_until(START_TIMEOUT, || {
            match std::fs::read(file).ok().and_then(|text| Self::parse(&text)) {
                Some(ready) => Some(Some(ready)),
                None if !process.is_running() => Some(None),
                None => None,
            }
        });
        match found {
            Some(Some(ready)) => Ok(ready),
            Some(None) => bail!("{} ended before it was ready\n{}", process.name(), process.log_tail()),
            None => bail!("{} was not ready after {START_TIMEOUT:?}\n{}", process.name(), process.log_tail()),
        }
    }

    /// The address of one listener.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let address = self.listeners.get(name).copied();
        address.with_context(|| {
            format!("no listener {name:?} in the ready file; there are {:?}", self.listeners.keys())
        })
    }

    /// `None` while the file is incomplete. Every value that is a socket address counts, at any depth, under its key.
    fn parse(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let mut listeners = BTreeMap::new();
        collect("", &value, &mut listeners);
        (!listeners.is_empty()).then_some(Self { listeners })
    }
}

fn collect(key: &str, value: &Value, listeners: &mut BTreeMap<String, SocketAddr>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| collect(key, value, listeners)),
        Value::String(text) => {
            if let Ok(address) = text.parse() {
                listeners.insert(key.to_owned(), address);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_by_name() {
        let text = br#"{"pid": 4, "listeners": {"registry": "127.0.0.1:15000", "peer": "[::1]:15001"}}"#;
        let ready = Ready::parse(text).unwrap();
        assert_eq!(ready.listener("registry").unwrap(), "127.0.0.1:15000".parse().unwrap());
        assert!(ready.listener("tracker").unwrap_err().to_string().contains("peer"));
        assert_eq!(Ready::parse(&text[..30]), None, "a half-written file is not ready");
    }
}
