//! Kubernetes `v1` `Secret`, as far as it holds certificates and keys.
//!
//! What it holds is never shown: neither type writes its content, to whatever end it is asked.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// Kubernetes `Secret`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Content in Base64.
    pub data: Contents,
    /// Content as it is; it takes precedence over `data`.
    pub string_data: Contents,
    /// `kubernetes.io/tls` for a certificate and its key.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// The entries of a secret. Their names may be shown, their values not.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<String, Content>);

/// The value of an entry.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    /// Something that is no text.
    Other,
}

// === impl Secret ===

impl Secret {
    /// The entry `name`, decoded; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that follow its name.
    pub fn entry(&self, name: &str) -> Result<Option<Vec<u8>>, &'static str> {
        if let Some(text) = self.string_data.text(name)? {
            return Ok(Some(text.as_bytes().to_vec()));
        }
        let Some(text) = self.data.text(name)? else {
            return Ok(None);
        };
        // Tools break lines, and so do people.
        let compact: String = text.split_ascii_whitespace().collect();
        match STANDARD.decode(compact) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err("must be Base64"),
        }
    }
}

// === impl Contents ===

impl Contents {
    /// The names of the entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The entries with what they hold, as far as it is text: for whoever may have it all.
    pub(crate) fn revealed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, content)| match content {
            Content::Text(text) => Some((name.as_str(), text.as_str())),
            Content::Other => None,
        })
    }

    fn text(&self, name: &str) -> Result<Option<&str>, &'static str> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Content::Text(text)) => Ok(Some(text)),
            Some(Content::Other) => Err("must be text"),
        }
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, "***")))
    }
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Contents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Contents, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, content)) = map.next_entry()? {
                    entries.insert(name, content);
                }
                Ok(Contents(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Content {
    /// Takes anything, so that no message about what was expected quotes what was found.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
                Ok(Content::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
                Ok(Content::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
                Ok(Content::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
                Ok(Content::Other)
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Content::Other)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Content, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Content::Other)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(json: &str) -> Secret {
        serde_json::from_str(json).expect("a secret")
    }

    #[test]
    fn entries_are_decoded_and_plain_ones_come_first() {
        let secret = secret(
            r#"{"data": {"a": "aGVs\nbG8=\n", "b": "eA==", "c": "!"}, "stringData": {"b": "y"}}"#,
        );

        assert_eq!(secret.entry("a"), Ok(Some(b"hello".to_vec())));
        assert_eq!(secret.entry("b"), Ok(Some(b"y".to_vec())));
        assert_eq!(secret.entry("c"), Err("must be Base64"));
        assert_eq!(secret.entry("d"), Ok(None));
    }

    #[test]
    fn its_content_is_never_shown() {
        let secret = secret(r#"{"data": {"tls.key": "c2VjcmV0", "n": 4711}, "stringData": {}}"#);

        let shown = format!(
            "{secret:?} {}",
            serde_json::to_string(&secret).expect("JSON")
        );

        assert!(shown.contains("tls.key"), "{shown}");
        assert!(
            !shown.contains("c2VjcmV0") && !shown.contains("4711"),
            "{shown}"
        );
        assert_eq!(secret.entry("n"), Err("must be text"));
    }
}
