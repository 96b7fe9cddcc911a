//! One number of a scenario, with what it has to be.

/// What a value has to reach, or may reach at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// May be no larger.
    AtMost(f64),
    /// Must be no smaller.
    AtLeast(f64),
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it has to be, if that has been decided.
    pub bar: Option<Bar>,
    /// What to aim for beyond the bar.
    pub aim: Option<f64>,
}

impl Figure {
    /// A value without a bar.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, bar: None, aim: None }
    }

    /// The same value, which may be at most `bar`.
    pub fn at_most(self, bar: f64) -> Self {
        Self { bar: Some(Bar::AtMost(bar)), ..self }
    }

    /// The same value, which has to be at least `bar`.
    pub fn at_least(self, bar: f64) -> Self {
        Self { bar: Some(Bar::AtLeast(bar)), ..self }
    }

    /// What to aim for beyond the bar.
    pub fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// Whether it is what it has to be; true without a bar.
    pub fn holds(&self) -> bool {
        match self.bar {
            None => true,
            Some(Bar::AtMost(bar)) => self.value <= bar,
            Some(Bar::AtLeast(bar)) => self.value >= bar,
        }
    }
}
