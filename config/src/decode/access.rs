//! The items of a list and the fields of a mapping, one after the other, without the poisoned ones.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess};
use serde_json::{Map, Value, map};

use super::node::Node;
use super::path::Path;
use super::{DecodeError, Unknown};

/// The items of a list.
pub(super) struct Items<'n, 'p> {
    list: Node<'n, 'p>,
    items: std::iter::Enumerate<std::slice::Iter<'n, Value>>,
}

/// The fields of a mapping.
pub(super) struct Fields<'n, 'p> {
    map: Node<'n, 'p>,
    fields: map::Iter<'n>,
    /// The fields that a struct has; any key is legal in a map.
    legal: Option<&'static [&'static str]>,
    current: Option<(&'n str, &'n Value)>,
}

// === impl Items ===

impl<'n, 'p> Items<'n, 'p> {
    pub(super) fn new(list: Node<'n, 'p>, items: &'n [Value]) -> Self {
        Self {
            list,
            items: items.iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let report = self.list.report;
        let Some((index, value)) = self.items.find(|(_, value)| !report.is_poisoned(value)) else {
            return Ok(None);
        };
        let path = Path::Index(self.list.path, index);
        let node = Node {
            value,
            path: &path,
            unknown: self.list.unknown,
            report,
        };
        report
            .attempt(node, |node| seed.deserialize(node))
            .map(Some)
    }
}

// === impl Fields ===

impl<'n, 'p> Fields<'n, 'p> {
    pub(super) fn of_map(map: Node<'n, 'p>, fields: &'n Map<String, Value>) -> Self {
        Self {
            map,
            fields: fields.iter(),
            legal: None,
            current: None,
        }
    }

    pub(super) fn of_struct(
        map: Node<'n, 'p>,
        fields: &'n Map<String, Value>,
        legal: &'static [&'static str],
    ) -> Self {
        Self {
            map,
            fields: fields.iter(),
            legal: Some(legal),
            current: None,
        }
    }

    /// The next field that counts. Null counts as absent, but not under a wrong name.
    fn advance(&mut self) -> Option<&'n str> {
        for (name, value) in self.fields.by_ref() {
            if self.map.report.is_poisoned(value) {
                continue;
            }
            if let Some(legal) = self.legal
                && !legal.contains(&name.as_str())
            {
                let path = Path::Key(self.map.path, name);
                match self.map.unknown {
                    Unknown::Refuse => self.map.report.unknown_field(&path, value, legal),
                    Unknown::Tell => self.map.report.skipped_field(&path, value),
                    Unknown::Ignore => {}
                }
                continue;
            }
            if !value.is_null() {
                self.current = Some((name, value));
                return Some(name);
            }
        }
        None
    }
}

impl<'de> MapAccess<'de> for Fields<'de, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some(name) = self.advance() else {
            return Ok(None);
        };
        let name: StrDeserializer<'de, DecodeError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let Some((name, value)) = self.current.take() else {
            return Err(DecodeError::new("has a value without a key".to_owned()));
        };
        let report = self.map.report;
        let path = Path::Key(self.map.path, name);
        let node = Node {
            value,
            path: &path,
            unknown: self.map.unknown,
            report,
        };
        report.attempt(node, |node| seed.deserialize(node))
    }
}
