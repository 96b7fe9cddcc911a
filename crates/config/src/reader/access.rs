//! How serde walks through lists, maps and variants of a [`Node`] tree.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::Fault;
use crate::node::{Entry, Node, Value};

/// The items of a list.
pub(super) struct Items<'a> {
    items: &'a [Node],
    index: usize,
}

impl<'a> Items<'a> {
    pub(super) const fn new(items: &'a [Node]) -> Self {
        Self { items, index: 0 }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        while let Some(item) = self.items.get(self.index) {
            let index = self.index;
            self.index += 1;
            if !matches!(item.value, Value::Removed) {
                return seed.deserialize(item).map(Some).map_err(|fault| fault.inside(index.to_string()));
            }
        }
        Ok(None)
    }
}

/// The keys and values of a map.
pub(super) struct Entries<'a> {
    entries: &'a [Entry],
    value: Option<&'a Entry>,
}

impl<'a> Entries<'a> {
    pub(super) const fn new(entries: &'a [Entry]) -> Self {
        Self { entries, value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        while let Some((entry, rest)) = self.entries.split_first() {
            self.entries = rest;
            if matches!(entry.node.value, Value::Removed) {
                continue;
            }
            self.value = Some(entry);
            let key = StrDeserializer::<Fault>::new(&entry.key);
            return seed
                .deserialize(key)
                .map(Some)
                .map_err(|fault| fault.at(&entry.origin).inside(&entry.key));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        seed.deserialize(&entry.node).map_err(|fault| fault.at(&entry.origin).inside(&entry.key))
    }
}

/// One variant of an enum: a word, or a key with a value below it.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a Node>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let value = seed.deserialize(StrDeserializer::<Fault>::new(self.name))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            Some(value) if !value.is_null() => Err(de::Error::custom("this word takes no value")),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let missing = || de::Error::custom("this word needs a value below it");
        let fault_inside = |fault: Fault| fault.inside(self.name);
        seed.deserialize(self.value.ok_or_else(missing)?).map_err(fault_inside)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        let missing = || de::Error::custom("this word needs a list below it");
        self.value.ok_or_else(missing)?.deserialize_seq(visitor).map_err(|fault| fault.inside(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let missing = || de::Error::custom("this word needs keys below it");
        self.value.ok_or_else(missing)?.deserialize_map(visitor).map_err(|fault| fault.inside(self.name))
    }
}
