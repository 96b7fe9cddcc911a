//! serde's view of a [`Node`] tree, with errors that know their place.

mod access;

use std::fmt;

use serde::de::{self, Deserializer, Unexpected, Visitor};

use crate::node::{Entry, Node, Origin, Style, Value};
use crate::yaml;
use access::{Entries, Items, Variant};

/// Why a value does not fit, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// From the innermost segment outwards.
    path_reversed: Vec<String>,
    pub(crate) origin: Option<Origin>,
    pub(crate) remedy: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    Unknown { expected: &'static [&'static str] },
    Missing { field: &'static str },
    Invalid { problem: String },
}

impl Fault {
    fn new(kind: FaultKind) -> Self {
        Self { kind, path_reversed: Vec::new(), origin: None, remedy: None }
    }

    pub(crate) fn path(&self) -> Vec<String> {
        self.path_reversed.iter().rev().cloned().collect()
    }

    fn inside(mut self, segment: impl Into<String>) -> Self {
        self.path_reversed.push(segment.into());
        self
    }

    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn advise(mut self, remedy: &'static str) -> Self {
        self.remedy.get_or_insert(remedy);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Unknown { .. } => f.write_str("unknown key"),
            FaultKind::Missing { field } => write!(f, "`{field}` is missing"),
            FaultKind::Invalid { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(FaultKind::Invalid { problem: message.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("`{variant}` is none of {}", expected.join(", ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(FaultKind::Unknown { expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(FaultKind::Missing { field })
    }
}

/// Texts that a hole tries: for strings, numbers, durations, sizes, addresses, URLs and paths.
const GUESSES: [&str; 7] = ["", "1", "1s", "1B", "127.0.0.1:1", "http://localhost:1", "/a"];

impl Node {
    /// Whether a hole has no further guess.
    pub(crate) fn is_out_of_guesses(&self) -> bool {
        matches!(self.value, Value::Hole(guess) if guess + 1 >= GUESSES.len())
    }

    /// The scalar's text; a hole guesses.
    fn text(&self) -> Option<(&str, Style)> {
        match &self.value {
            Value::Scalar { text, style } => Some((text, *style)),
            Value::Hole(guess) => Some((GUESSES.get(*guess).copied().unwrap_or_default(), Style::Loose)),
            Value::List(_) | Value::Map(_) | Value::Removed => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::List(_) => Unexpected::Other("a list"),
            Value::Map(_) => Unexpected::Other("keys below it"),
            _ if self.is_null() => Unexpected::Other("nothing"),
            _ => self.text().map_or(Unexpected::Unit, |(text, _)| Unexpected::Str(text)),
        }
    }

    fn misfit(&self, expected: &dyn de::Expected, remedy: &'static str) -> Fault {
        let fault: Fault = de::Error::invalid_type(self.unexpected(), expected);
        fault.at(&self.origin).advise(remedy)
    }

    fn parsed<'de, V: Visitor<'de>, T: std::str::FromStr>(
        &self,
        visitor: V,
        remedy: &'static str,
        visit: impl FnOnce(V, T) -> Result<V::Value, Fault>,
    ) -> Result<V::Value, Fault> {
        let value = match self.text() {
            Some((text, Style::Plain | Style::Loose)) if !self.is_null() => {
                hole_text(self, text).parse().ok()
            }
            _ => None,
        };
        match value {
            Some(value) => visit(visitor, value).map_err(|fault| fault.at(&self.origin).advise(remedy)),
            None => Err(self.misfit(&visitor, remedy)),
        }
    }

    /// A loose scalar read again as YAML in flow style.
    fn reparsed(&self, text: &str) -> Option<Self> {
        let mut errors = Vec::new();
        let mut node = yaml::parse(text, |_| self.origin.clone(), &mut errors).ok()?;
        loosen(&mut node);
        errors.is_empty().then_some(node)
    }

    fn whole<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        self.parsed(visitor, "write a whole number such as 8", |visitor, number: i128| {
            match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => Err(de::Error::custom("the number is too large")),
            }
        })
    }

    fn list<'de, V: Visitor<'de>>(&self, items: &[Self], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items::new(items)).map_err(|fault| fault.at(&self.origin))
    }

    fn map<'de, V: Visitor<'de>>(&self, entries: &[Entry], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries::new(entries)).map_err(|fault| fault.at(&self.origin))
    }
}

/// Booleans have no guess of their own among the texts.
fn hole_text<'a>(node: &Node, text: &'a str) -> &'a str {
    if matches!(node.value, Value::Hole(_)) && text.is_empty() { "1" } else { text }
}

/// What stands in the environment has no YAML types: `[1, 2]` may be a list of texts.
fn loosen(node: &mut Node) {
    match &mut node.value {
        Value::Scalar { style, .. } => *style = Style::Loose,
        Value::List(items) => items.iter_mut().for_each(loosen),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| loosen(&mut entry.node)),
        Value::Removed | Value::Hole(_) => {}
    }
}

macro_rules! whole_numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.whole(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::List(items) => self.list(items, visitor),
            Value::Map(entries) => self.map(entries, visitor),
            Value::Removed => visitor.visit_unit(),
            _ if self.is_null() => visitor.visit_unit().map_err(|fault: Fault| fault.at(&self.origin)),
            Value::Scalar { text, style: Style::Plain } => match plain(text) {
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Whole(value) => visitor.visit_u64(value),
                Plain::Negative(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text => visitor.visit_str(text),
            }
            .map_err(|fault: Fault| fault.at(&self.origin)),
            Value::Scalar { .. } | Value::Hole(_) => self.deserialize_str(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Hole(_) => visitor.visit_bool(false),
            _ => {
                self.parsed(visitor, "write true or false", |visitor, value: bool| visitor.visit_bool(value))
            }
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.parsed(visitor, "write a number such as 0.5", |visitor, value: f64| visitor.visit_f64(value))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some((text, _)) if !self.is_null() => {
                visitor.visit_str(text).map_err(|fault: Fault| fault.at(&self.origin))
            }
            _ => Err(self.misfit(&visitor, "write one value, in quotes if it has special characters")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let nothing = match &self.value {
            Value::Hole(_) | Value::Removed => true,
            Value::Scalar { text, style: Style::Loose } => text.is_empty(),
            _ => self.is_null(),
        };
        if nothing { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::List(items) => self.list(items, visitor),
            Value::Hole(_) => self.list(&[], visitor),
            _ if self.is_null() => self.list(&[], visitor),
            Value::Scalar { text, style: Style::Loose } => {
                let reparsed = if text.trim_start().starts_with('[') { self.reparsed(text) } else { None };
                if let Some(Node { value: Value::List(items), .. }) = reparsed {
                    return self.list(&items, visitor);
                }
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let items: Vec<_> = parts.map(|part| Node::loose(part, self.origin.clone())).collect();
                self.list(&items, visitor)
            }
            _ => Err(self.misfit(&visitor, "write a list, as in [a, b]")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Map(entries) => self.map(entries, visitor),
            Value::Hole(_) => self.map(&[], visitor),
            _ if self.is_null() => self.map(&[], visitor),
            Value::Scalar { text, style: Style::Loose } => match self.reparsed(text) {
                Some(Node { value: Value::Map(entries), .. }) => self.map(&entries, visitor),
                _ => Err(self.misfit(&visitor, "write keys and values, as in {a: 1, b: 2}")),
            },
            _ => Err(self.misfit(&visitor, "write its keys on indented lines below it")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let outcome = match &self.value {
            Value::Hole(_) => {
                visitor.visit_enum(Variant { name: variants.first().unwrap_or(&""), value: None })
            }
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { name: &entries[0].key, value: Some(&entries[0].node) })
            }
            _ => match self.text() {
                Some((text, _)) if !self.is_null() => visitor.visit_enum(Variant { name: text, value: None }),
                _ => return Err(self.misfit(&visitor, "write one of the words")),
            },
        };
        outcome.map_err(|fault| fault.at(&self.origin))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(&self.origin))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() || matches!(self.value, Value::Hole(_)) {
            return visitor.visit_unit();
        }
        Err(self.misfit(&visitor, "leave it empty"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit_struct }
}

/// What a scalar without quotes means when the target does not say (YAML 1.2, core schema).
enum Plain {
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Float(f64),
    Text,
}

fn plain(text: &str) -> Plain {
    if let Ok(value) = text.parse() {
        return Plain::Bool(value);
    }
    if let Ok(value) = text.parse() {
        return Plain::Whole(value);
    }
    if let Ok(value) = text.parse() {
        return Plain::Negative(value);
    }
    match text.parse() {
        Ok(value) if text.starts_with(|char: char| char.is_ascii_digit() || char == '-') => {
            Plain::Float(value)
        }
        _ => Plain::Text,
    }
}
