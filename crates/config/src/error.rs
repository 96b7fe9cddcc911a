//! What is wrong with a configuration, all of it.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `agent.yaml:12`, `environment variable SHOAL_X`, `flag --x`.
    pub place: String,
    /// The key's path, as in `registry.listen`; empty when it concerns the whole source.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do, when it does not follow from the problem.
    pub remedy: Option<String>,
}

impl ConfigError {
    /// A mistake found by the program itself, after reading: values that do not fit together.
    pub fn semantic(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: "configuration".into(),
            path: path.into(),
            problem: problem.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of a configuration. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes as an error, or `Ok` when there are none.
    ///
    /// # Errors
    /// When `errors` is not empty.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The mistakes that kept a value from coming about.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Self {
        if errors.is_empty() {
            // Every way to lose the value reports why, so this guards against a fault in this crate only.
            errors.push(ConfigError::semantic(
                "",
                "the configuration could not be read",
                "check it against the reference",
            ));
        }
        Self(errors)
    }

    /// Each mistake.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has an error:")?,
            count => write!(f, "the configuration has {count} errors:")?,
        }
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
