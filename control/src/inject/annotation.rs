//! Labels and annotations of a pod, read for what they mean.

use std::str::FromStr;

use config::ip_block::IpBlock;
use serde_json::Value;

/// Longest value that is quoted in a message, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// An annotation that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata.annotations[\"{annotation}\"]: {message}")]
pub struct Mistake {
    /// Which one.
    pub annotation: String,
    /// What it should say.
    pub message: String,
}

/// The annotations of a pod, with an error for what is wrong.
#[derive(Clone, Copy)]
pub(super) struct Annotations<'p>(pub(super) &'p Value);

pub(super) fn annotation<'p>(pod: &'p Value, name: &str) -> Option<&'p str> {
    pod["metadata"]["annotations"][name].as_str()
}

pub(super) fn label<'p>(pod: &'p Value, name: &str) -> Option<&'p str> {
    pod["metadata"]["labels"][name].as_str()
}

// === impl Annotations ===

impl<'p> Annotations<'p> {
    /// What is written, if it is more than spaces.
    pub(super) fn text(self, name: &str) -> Option<&'p str> {
        let text = annotation(self.0, name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// True or false.
    pub(super) fn truth(self, name: &str) -> Result<Option<bool>, Mistake> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(wrong(name, "must be true or false", text)),
        }
    }

    /// A whole number.
    pub(super) fn number<T: FromStr>(self, name: &str) -> Result<Option<T>, Mistake> {
        self.text(name)
            .map(|text| {
                let number = text.parse();
                number.map_err(|_| wrong(name, "must be a whole number in range", text))
            })
            .transpose()
    }

    /// Ports with commas between, `*` where that is said to be legal, or nothing at all.
    pub(super) fn ports(self, name: &str, all: All) -> Result<Option<String>, Mistake> {
        let legal = |item: &str| item.parse::<u16>().is_ok_and(|port| port != 0);
        self.list(name, all, legal, "must be ports with commas between")
    }

    /// Networks with commas between, or `*`.
    pub(super) fn networks(self, name: &str, all: All) -> Result<Option<String>, Mistake> {
        let legal = |item: &str| item.parse::<IpBlock>().is_ok();
        self.list(
            name,
            all,
            legal,
            "must be networks such as 10.0.0.0/8 with commas between",
        )
    }

    /// Names of interfaces with commas between.
    pub(super) fn interfaces(self, name: &str) -> Result<Option<String>, Mistake> {
        // The kernel's limit is 15 bytes and no slash.
        let legal = |item: &str| item.len() <= 15 && !item.contains(['/', ' ']);
        let wanted = "must be interfaces with commas between";
        self.list(name, All::Illegal, legal, wanted)
    }

    /// What is written, if only to say "nothing".
    fn list(
        self,
        name: &str,
        all: All,
        legal: impl Fn(&str) -> bool,
        wanted: &str,
    ) -> Result<Option<String>, Mistake> {
        let Some(text) = annotation(self.0, name) else {
            return Ok(None);
        };
        let text = text.trim();
        if text.is_empty() || (text == "*" && all == All::Legal) {
            return Ok(Some(text.to_owned()));
        }
        let items = text.split(',').map(str::trim);
        let items: Vec<&str> = items.filter(|item| !item.is_empty()).collect();
        match items.iter().all(|item| legal(item)) {
            true => Ok(Some(items.join(","))),
            false => Err(wrong(name, wanted, text)),
        }
    }
}

/// Whether `*` may stand for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum All {
    Legal,
    Illegal,
}

pub(super) fn wrong(name: &str, wanted: &str, got: &str) -> Mistake {
    let quoted: String = got.chars().take(QUOTE_CHARS_MAX).collect();
    Mistake {
        annotation: name.to_owned(),
        message: format!("{wanted}, got {quoted:?}"),
    }
}
