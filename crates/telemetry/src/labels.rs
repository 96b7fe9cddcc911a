//! Labels with a known set of values, and one metric for each of them.
//!
//! A label is an enum, so a series cannot be misspelt and cannot multiply without bound.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Metric;

use crate::metrics::Metrics;
use crate::names::Name;

/// A label value from a fixed set.
pub trait Label: Copy + Debug + Eq + Hash + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value as text.
    fn as_str(self) -> &'static str;
    /// Position in [`Self::ALL`].
    fn index(self) -> usize;
}

/// The label set of one series of [`PerLabel`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pair(&'static str, &'static str);

impl EncodeLabelSet for Pair {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelSet::encode(&[(self.0, self.1)], encoder)
    }
}

/// One metric for each value of the label `L`.
#[derive(Clone, Debug)]
pub struct PerLabel<L, M> {
    series: Arc<[M]>,
    label: std::marker::PhantomData<L>,
}

impl<L, M> PerLabel<L, M>
where
    L: Label,
    M: Default + Clone + Metric + TypedMetric,
{
    /// Makes every series and adds them to `metrics` under `name`.
    pub(crate) fn register(metrics: &Metrics, name: &Name) -> Self {
        let family = Family::<Pair, M>::default();
        let series =
            L::ALL.iter().map(|value| family.get_or_create_owned(&Pair(L::NAME, value.as_str()))).collect();
        metrics.register(name, family);
        Self { series, label: std::marker::PhantomData }
    }
}

impl<L: Label, M> PerLabel<L, M> {
    /// The metric for `label`.
    pub fn of(&self, label: L) -> &M {
        &self.series[label.index()]
    }
}

/// Declares a [`Label`].
macro_rules! label {
    ($(#[$meta:meta])* $name:ident = $label:literal { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl crate::labels::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use label;
