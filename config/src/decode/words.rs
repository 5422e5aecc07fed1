//! The words in which problems are told to people.

use serde_json::Value;

/// Longest text that is quoted in a message, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// What stands in the document, such as `the number 5`.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The text in quotes, cut to a readable length.
pub(crate) fn quote(text: &str) -> String {
    if text.chars().count() <= QUOTE_CHARS_MAX {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    format!("{head:?}…")
}

/// The legal word that was probably meant, if one is near.
pub(crate) fn nearest<'w>(word: &str, legal: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(word);
    // A third of the letters may be wrong; in words of one or two letters none, because everything
    // is near to them.
    let limit = match wanted.chars().count() {
        0..=2 => 0,
        length => (length / 3).max(1),
    };
    legal
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &plain(candidate)),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `unknown field` with what would be right.
pub(crate) fn unknown_field(name: &str, legal: &'static [&'static str]) -> String {
    match nearest(name, primary(legal)) {
        Some(near) => format!("unknown field `{name}`, did you mean `{near}`?"),
        None => {
            let legal: Vec<&str> = primary(legal).collect();
            format!("unknown field `{name}`; legal are {}", legal.join(", "))
        }
    }
}

/// `unknown value` with all legal ones.
pub(crate) fn unknown_value(name: &str, legal: &'static [&'static str]) -> String {
    let all = legal.join(", ");
    match nearest(name, legal.iter().copied()) {
        Some(near) => {
            format!(
                "unknown value {}, did you mean {near}? Legal are {all}",
                quote(name)
            )
        }
        None => format!("unknown value {}; legal are {all}", quote(name)),
    }
}

/// Field names without their alternate spellings, which the API writes with underscores.
fn primary(legal: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    legal.iter().copied().filter(|name| !name.contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let legal = ["weight", "destination", "headers"];

        assert_eq!(nearest("wieght", legal), Some("weight"));
        assert_eq!(nearest("header", legal), Some("headers"));
        assert_eq!(nearest("colour", legal), None);
    }

    #[test]
    fn case_and_underscores_do_not_count_as_wrong_letters() {
        assert_eq!(
            nearest("round-robin", ["ROUND_ROBIN", "RANDOM"]),
            Some("ROUND_ROBIN")
        );
    }
}
