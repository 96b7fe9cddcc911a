//! The audit log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_config::ConfigError;
use shoal_events::AuditOptions;

/// The audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file that every write and every refusal is added to, one line of JSON each. Unset: no audit log.
    pub file: Option<PathBuf>,
    /// Whether writes are refused while the file cannot be written, and wait until their line is on the disk. Otherwise they go on, and
    /// the lines that are lost are counted.
    pub required: bool,
}

impl Audit {
    /// As the log takes it; `None` when there is none.
    pub fn options(&self) -> Option<AuditOptions> {
        let file = self.file.clone()?;
        Some(AuditOptions { file, required: self.required })
    }

    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        match &self.file {
            None if self.required => {
                let remedy = "name the file with audit.file";
                add(ConfigError::semantic("audit.required", "is set, and there is no audit log", remedy));
            }
            Some(file) if !file.is_absolute() => {
                let remedy = "write the whole path, as in /var/log/shoal/audit.log";
                add(ConfigError::semantic("audit.file", "is not an absolute path", remedy));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_required_has_a_file() {
        let problems = |audit: &Audit| {
            let mut found = Vec::new();
            audit.problems(&mut |error| found.push(error.to_string()));
            found
        };
        assert!(problems(&Audit::default()).is_empty() && Audit::default().options().is_none());
        assert_eq!(problems(&Audit { file: None, required: true }).len(), 1);
        assert_eq!(problems(&Audit { file: Some("audit.log".into()), required: false }).len(), 1);
        assert!(problems(&Audit { file: Some("/var/log/audit.log".into()), required: true }).is_empty());
    }
}
