//! RE2's character classes and escapes, translated for the `regex` crate.

use super::translate::Input;

/// What an escape stands for.
pub(super) enum Item {
    /// One character.
    One(char),
    /// A set, as the inside of a class.
    Set {
        /// The members, as they stand between brackets.
        inner: String,
        /// The set is everything but the members.
        negated: bool,
    },
}

/// Appends one character such that it stands for itself, in a class or outside.
pub(super) fn push(character: char, output: &mut String) {
    // Not more than needed: before other characters a backslash has a meaning of its own (`\<`).
    if r"\.+*?()|[]{}^$#&-~".contains(character) {
        output.push('\\');
    }
    output.push(character);
}

/// Reads the rest of a class whose `[` is consumed.
pub(super) fn translate(input: &mut Input<'_>, output: &mut String) -> Result<(), String> {
    output.push('[');
    if input.next_if_eq(&'^').is_some() {
        output.push('^');
    }
    let mut first = true;
    loop {
        let character = input.next().ok_or("a class is not closed")?;
        if character == ']' && !first {
            output.push(']');
            return Ok(());
        }
        first = false;
        let item = match character {
            '[' if input.peek() == Some(&':') => match named(input)? {
                Some(named) => {
                    output.push_str(&named);
                    continue;
                }
                None => Item::One('['),
            },
            '\\' => escape(input)?,
            other => Item::One(other),
        };
        match item {
            Item::One(low) => range(low, input, output)?,
            Item::Set {
                inner,
                negated: false,
            } => output.push_str(&inner),
            Item::Set {
                inner,
                negated: true,
            } => {
                output.push_str("[^");
                output.push_str(&inner);
                output.push(']');
            }
        }
    }
}

/// Appends `low`, or the range that it begins.
fn range(low: char, input: &mut Input<'_>, output: &mut String) -> Result<(), String> {
    push(low, output);
    let mut ahead = input.clone();
    if ahead.next() != Some('-') || matches!(ahead.peek(), None | Some(']')) {
        return Ok(());
    }
    let high = match ahead.next() {
        Some('\\') => match escape(&mut ahead)? {
            Item::One(high) => high,
            Item::Set { .. } => return Err("a range ends with a set".to_owned()),
        },
        Some(high) => high,
        None => return Err("a class is not closed".to_owned()),
    };
    if high < low {
        return Err(format!("the range {low}-{high} is empty"));
    }
    output.push('-');
    push(high, output);
    *input = ahead;
    Ok(())
}

/// Reads the rest of `[:name:]` whose first bracket is consumed; none when there is no `:]`.
fn named(input: &mut Input<'_>) -> Result<Option<String>, String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    let rest: String = input.clone().skip(1).collect();
    let Some(end) = rest.find(":]") else {
        return Ok(None);
    };
    let name = rest[..end].strip_prefix('^').unwrap_or(&rest[..end]);
    if !NAMES.contains(&name) {
        return Err(format!("[:{name}:] is not a class"));
    }
    let class = format!("[:{}:]", &rest[..end]);
    for _ in 1..class.chars().count() {
        input.next();
    }
    Ok(Some(class))
}

/// Reads what follows a backslash.
pub(super) fn escape(input: &mut Input<'_>) -> Result<Item, String> {
    let set = |inner: &str, negated| Item::Set {
        inner: inner.to_owned(),
        negated,
    };
    let character = input.next().ok_or("a backslash ends the pattern")?;
    Ok(match character {
        'd' | 'D' => set("0-9", character == 'D'),
        'w' | 'W' => set("0-9A-Za-z_", character == 'W'),
        's' | 'S' => set("\\t\\n\\f\\r ", character == 'S'),
        'p' | 'P' => unicode(character == 'P', input)?,
        'a' => Item::One('\x07'),
        'f' => Item::One('\x0c'),
        'n' => Item::One('\n'),
        'r' => Item::One('\r'),
        't' => Item::One('\t'),
        'v' => Item::One('\x0b'),
        'x' => Item::One(hexadecimal(input)?),
        '0'..='7' => Item::One(octal(character, input)?),
        _ if character.is_ascii() && !character.is_ascii_alphanumeric() => Item::One(character),
        _ => return Err(format!("\\{character} is not supported")),
    })
}

fn unicode(mut negated: bool, input: &mut Input<'_>) -> Result<Item, String> {
    let name = match input.next() {
        Some('{') => {
            let mut name = String::new();
            loop {
                match input.next() {
                    Some('}') => break name,
                    Some(character) => name.push(character),
                    None => return Err("\\p{ is not closed".to_owned()),
                }
            }
        }
        Some(letter) => letter.to_string(),
        None => return Err("\\p needs the name of a class".to_owned()),
    };
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name.to_owned()
        }
        None => name,
    };
    Ok(Item::Set {
        inner: format!("\\p{{{name}}}"),
        negated,
    })
}

fn hexadecimal(input: &mut Input<'_>) -> Result<char, String> {
    let (digits, least): (String, usize) = if input.next_if_eq(&'{').is_some() {
        (
            input
                .by_ref()
                .take_while(|character| *character != '}')
                .collect(),
            1,
        )
    } else {
        (input.by_ref().take(2).collect(), 2)
    };
    let valid = digits.len() >= least && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| valid)
        .and_then(char::from_u32)
        .ok_or_else(|| "\\x needs two digits or {digits}".to_owned())
}

/// `\0` and up to two more digits; `\1` to `\7` only with more digits, alone they are references.
fn octal(first: char, input: &mut Input<'_>) -> Result<char, String> {
    let is_digit = |character: &char| ('0'..='7').contains(character);
    if first != '0' && !input.peek().is_some_and(is_digit) {
        return Err("references to groups are not supported".to_owned());
    }
    let mut code = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        match input.next_if(is_digit).and_then(|digit| digit.to_digit(8)) {
            Some(digit) => code = code * 8 + digit,
            None => break,
        }
    }
    char::from_u32(code).ok_or_else(|| "an octal escape is out of range".to_owned())
}
