//! Regular expressions as the API means them: RE2's syntax, its limits, its meaning.
//!
//! The engine behind is the `regex` crate, whose language is close but not the same: it takes `{`
//! for the beginning of a count where RE2 reads a plain character, knows nested classes and word
//! boundaries that RE2 does not, and its `\d`, `\w` and `\s` cover all of Unicode. So a pattern is
//! translated first. Whoever compiles a pattern of a resource does it here, so that what passes
//! validation compiles.

use regex::Regex;

mod class;
mod translate;

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1_024;

/// Greatest count in a repetition.
const REPEAT_MAX: u32 = 1_000;

/// Compiles a pattern that must match a whole value.
///
/// # Errors
/// Says why the text is no pattern.
pub fn compile_full(pattern: &str) -> Result<Regex, String> {
    build(pattern, |translated| format!("^(?:{translated})$"))
}

/// Compiles a pattern that is searched for in a value, as rewrites do.
///
/// # Errors
/// Says why the text is no pattern.
pub fn compile_search(pattern: &str) -> Result<Regex, String> {
    build(pattern, |translated| translated)
}

/// Checks a pattern.
///
/// # Errors
/// Says why the text is no pattern.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    compile_full(pattern).map(|_| ())
}

/// Checks the substitution that belongs to a pattern: `\0` to `\9` for its groups, `\\` for a
/// backslash.
pub(crate) fn check_rewrite(pattern: &str, rewrite: &str) -> Result<(), String> {
    if rewrite.is_empty() {
        return Err("is required".to_owned());
    }
    let groups = compile_search(pattern)?.captures_len() - 1;
    let mut characters = rewrite.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        match characters.next() {
            Some('\\') => {}
            Some(digit @ '0'..='9') if digit.to_digit(10).is_some_and(|n| n as usize <= groups) => {
            }
            Some(digit @ '0'..='9') => {
                return Err(format!(
                    "must use groups up to \\{groups}, got \"\\{digit}\""
                ));
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "must have a digit or '\\' after a '\\', got \"\\{other}\""
                ));
            }
        }
    }
    Ok(())
}

fn build(pattern: &str, wrap: impl FnOnce(String) -> String) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "must have at most {PATTERN_BYTES_MAX} bytes, got {}",
            pattern.len()
        ));
    }
    let fail = |reason: &str| {
        format!("must be a regular expression in RE2 syntax, got \"{pattern}\": {reason}")
    };
    let translated = translate::translate(pattern).map_err(|reason| fail(&reason))?;
    Regex::new(&wrap(translated)).map_err(|error| fail(&reason(&error)))
}

/// The engine's reason without its drawing of the pattern.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::Syntax(text) => {
            let line = text.lines().last().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
