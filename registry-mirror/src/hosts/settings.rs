//! Section `hosts` of the configuration: what `shoal-agent hosts apply` does when its flags do not say otherwise.

use serde::{Deserialize, Serialize};
use shoal_oci::Host;

/// Which pulls of this machine's runtimes go through the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hosts {
    /// Registries by the name in front of images. Those of `namespaces` come on top.
    pub registries: Vec<String>,
    /// All other registries too, where a runtime can be told so.
    pub catch_all: bool,
    /// An image that is pulled through each runtime to prove that it comes through the agent. Unset: nothing is pulled.
    pub canary: Option<String>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { registries: vec!["docker.io".to_owned()], catch_all: true, canary: None }
    }
}

impl Hosts {
    /// Names that are no registry.
    pub fn bad_names(&self) -> Vec<&str> {
        self.registries.iter().map(String::as_str).filter(|name| !is_registry(name)).collect()
    }
}

/// Whether a name can stand in front of an image.
pub(super) fn is_registry(name: &str) -> bool {
    name.parse::<Host>().is_ok()
}
