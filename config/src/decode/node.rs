//! One value at its path, as serde reads it.

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Expected, IntoDeserializer, Visitor};
use serde_json::Value;

use super::access::{Fields, Items};
use super::path::Path;
use super::{DecodeError, Report, Unknown, words};

/// Whole numbers of `f64` are exact up to this one.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value, where it stands, and where its problems go.
#[derive(Clone, Copy)]
pub(super) struct Node<'n, 'p> {
    pub(super) value: &'n Value,
    pub(super) path: &'p Path<'p>,
    pub(super) unknown: Unknown,
    pub(super) report: &'p Report,
}

// === impl Node ===

impl<'n> Node<'n, '_> {
    fn wrong(&self, wanted: &str) -> DecodeError {
        DecodeError::wrong(wanted, self.value)
    }

    fn integer<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        least: i64,
        most: u64,
    ) -> Result<V::Value, DecodeError> {
        let Value::Number(number) = self.value else {
            return Err(self.wrong("a whole number"));
        };
        let whole = if let Some(number) = number.as_i64() {
            i128::from(number)
        } else if let Some(number) = number.as_u64() {
            i128::from(number)
        } else {
            // 80.0 is a whole number in JSON's sense.
            match number.as_f64() {
                Some(float) if float.fract() == 0.0 && float.abs() <= EXACT_FLOAT_MAX => {
                    float as i128
                }
                _ => return Err(self.wrong("a whole number")),
            }
        };
        if whole < i128::from(least) || whole > i128::from(most) {
            return Err(self.wrong(&format!("a whole number from {least} to {most}")));
        }
        match (u64::try_from(whole), i64::try_from(whole)) {
            (Ok(number), _) => visitor.visit_u64(number),
            (Err(_), Ok(number)) => visitor.visit_i64(number),
            (Err(_), Err(_)) => Err(self.wrong("a whole number")),
        }
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            #[allow(clippy::unnecessary_cast, reason = "one macro for all widths")]
            self.integer(visitor, <$type>::MIN as i64, <$type>::MAX as u64)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'de, '_> {
    type Error = DecodeError;

    integers! {
        deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64,
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(self.wrong("a number")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Bool(flag) => visitor.visit_bool(*flag),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(self.wrong("a number")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            // The visitor of a checked value says more than "a string".
            _ => {
                let visitor: &dyn Expected = &visitor;
                Err(self.wrong(&visitor.to_string()))
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            _ => Err(self.wrong("empty")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items::new(self, items)),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Fields::of_map(self, map)),
            _ => Err(self.wrong("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        legal: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Fields::of_struct(self, map, legal)),
            _ => Err(self.wrong("a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        legal: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Some(text) = self.value.as_str() else {
            return Err(self.wrong(&format!("one of {}", legal.join(", "))));
        };
        if !legal.contains(&text) {
            return Err(DecodeError::new(words::unknown_value(text, legal)));
        }
        let variant: StrDeserializer<'de, DecodeError> = text.into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}
