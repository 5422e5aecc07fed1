//! Lists of what can stand in a rule. Everything here ends up in the input of another program, so that
//! only what is known to be harmless there is taken.

use std::fmt;
use std::str::FromStr;

/// Most items of a list: a rule or more for each is passed by every new connection.
const ITEMS_MAX: usize = 1_024;
/// Longest name of an interface that the kernel has.
const INTERFACE_CHARS_MAX: usize = 15;

/// A port, which is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortNumber(pub(super) u16);

/// The number of a user or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// The name of a network interface; all that begin alike if it ends in `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

/// The items of a list, each once. White space and empty items do not count: lists are often put
/// together by templates.
pub(super) fn list<T: FromStr + PartialEq>(flag: &str, text: &str) -> Result<Vec<T>, String>
where
    T::Err: fmt::Display,
{
    let mut items = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let item = word.parse().map_err(|error| format!("{flag}: {error}"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        if items.len() > ITEMS_MAX {
            return Err(format!("{flag}: must be at most {ITEMS_MAX} items"));
        }
    }
    Ok(items)
}

// === impl PortNumber ===

impl FromStr for PortNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("must be a port from 1 to 65535, got \"{text}\"")),
            Ok(port) => Ok(Self(port)),
        }
    }
}

// === impl Id ===

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Names are known where the rules are read, which may be another image.
        let wrong = |_| format!("must be a number of a user or group, got \"{text}\"");
        text.parse().map(Self).map_err(wrong)
    }
}

// === impl Interface ===

impl Interface {
    /// The name, and whether all are meant that begin so.
    pub(crate) fn parts(&self) -> (&str, bool) {
        match self.0.strip_suffix('+') {
            Some(start) => (start, true),
            None => (&self.0, false),
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('+').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte);
        // A name that begins with a hyphen would be read as an option.
        let takes = !name.is_empty()
            && !name.starts_with('-')
            && text.len() <= INTERFACE_CHARS_MAX
            && name.bytes().all(is_plain);
        match takes {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("must be the name of an interface, got \"{text}\"")),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
