//! RE2's syntax outside of classes, translated for the `regex` crate.

use std::iter::Peekable;
use std::str::Chars;

use super::{REPEAT_MAX, class};

/// What is left of a pattern.
pub(super) type Input<'a> = Peekable<Chars<'a>>;

/// Translates a pattern; what only the engine can tell (unclosed groups, nothing to repeat) passes.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut input = pattern.chars().peekable();
    let mut output = String::with_capacity(pattern.len() + 8);
    let mut after_repeat = false;
    while let Some(character) = input.next() {
        let repeats = match character {
            '*' | '+' | '?' => {
                output.push(character);
                true
            }
            '{' => match count(&mut input)? {
                Some(count) => {
                    output.push_str(&count);
                    true
                }
                None => {
                    output.push_str("\\{");
                    false
                }
            },
            '}' | ']' | '#' | '&' | '~' | '-' => {
                output.push('\\');
                output.push(character);
                false
            }
            '\\' => {
                escape(&mut input, &mut output)?;
                false
            }
            '[' => {
                class::translate(&mut input, &mut output)?;
                false
            }
            '(' => {
                output.push('(');
                group(&mut input, &mut output)?;
                false
            }
            other => {
                output.push(other);
                false
            }
        };
        if repeats && after_repeat {
            return Err("a repetition cannot be repeated".to_owned());
        }
        after_repeat = repeats;
        if repeats && input.next_if_eq(&'?').is_some() {
            output.push('?');
        }
    }
    Ok(output)
}

/// Reads the rest of `{n}`, `{n,}` or `{n,m}`; none, and nothing consumed, when it is something
/// else and the brace a plain character.
fn count(input: &mut Input<'_>) -> Result<Option<String>, String> {
    let mut ahead = input.clone();
    let inner: String = ahead
        .by_ref()
        .take_while(|character| *character != '}')
        .collect();
    let is_closed = input.clone().any(|character| character == '}');
    let (low, high) = match inner.split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (inner.as_str(), None),
    };
    let is_number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'))
    };
    if !is_closed || !is_number(low) || !high.is_none_or(|high| high.is_empty() || is_number(high))
    {
        return Ok(None);
    }
    for number in [Some(low), high]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
    {
        if number
            .parse::<u32>()
            .is_ok_and(|number| number <= REPEAT_MAX)
        {
            continue;
        }
        return Err(format!(
            "a repetition has at most {REPEAT_MAX} rounds, got {number}"
        ));
    }
    *input = ahead;
    Ok(Some(format!("{{{inner}}}")))
}

/// Reads what follows `(`: flags or a name.
fn group(input: &mut Input<'_>, output: &mut String) -> Result<(), String> {
    if input.next_if_eq(&'?').is_none() {
        return Ok(());
    }
    output.push('?');
    let named = match input.peek() {
        Some('P') => {
            input.next();
            input.next_if_eq(&'<').is_some()
        }
        Some('<') => input.next().is_some(),
        _ => {
            return flags(input, output);
        }
    };
    let name: String = input
        .by_ref()
        .take_while(|character| *character != '>')
        .collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !named || name.is_empty() || !name.chars().all(is_word) {
        return Err("lookaround and unnamed (?P are not supported".to_owned());
    }
    // Groups are used by number only; a prefix makes every name legal for the engine.
    output.push_str("P<g_");
    output.push_str(&name);
    output.push('>');
    Ok(())
}

fn flags(input: &mut Input<'_>, output: &mut String) -> Result<(), String> {
    for character in input.by_ref() {
        match character {
            'i' | 'm' | 's' | 'U' | '-' => output.push(character),
            ':' | ')' => {
                output.push(character);
                return Ok(());
            }
            _ => return Err(format!("(?{character} is not supported")),
        }
    }
    Err("a group is not closed".to_owned())
}

/// Reads what follows a backslash outside of a class.
fn escape(input: &mut Input<'_>, output: &mut String) -> Result<(), String> {
    match input.peek() {
        Some('Q') => {
            input.next();
            quoted(input, output);
        }
        Some('b' | 'B') => {
            let boundary = input.next().unwrap_or('b');
            output.push_str(&format!("(?-u:\\{boundary})"));
        }
        Some(anchor @ ('A' | 'z')) => {
            output.push('\\');
            output.push(*anchor);
            input.next();
        }
        _ => match class::escape(input)? {
            class::Item::One(character) => class::push(character, output),
            class::Item::Set { inner, negated } => {
                output.push_str(if negated { "[^" } else { "[" });
                output.push_str(&inner);
                output.push(']');
            }
        },
    }
    Ok(())
}

/// Copies the text up to `\E`, or the end, character by character.
fn quoted(input: &mut Input<'_>, output: &mut String) {
    while let Some(character) = input.next() {
        if character == '\\' && input.next_if_eq(&'E').is_some() {
            return;
        }
        class::push(character, output);
    }
}
