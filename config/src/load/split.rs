//! A file's text as single documents, each with the line where it begins.
//!
//! YAML forbids `---` and `...` at the start of a line inside any content, quoted and block texts
//! included, so cutting at lines is exact, and a syntax error of one document cannot hide the next.

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Document<'t> {
    /// The text, from its first line with content.
    pub(crate) text: &'t str,
    /// Line of the file in which `text` begins, from 1.
    pub(crate) line: u32,
}

/// The documents of a text, without the empty ones.
pub(crate) fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    // Where the current document begins, once a line with content was seen.
    let mut begin: Option<(usize, u32)> = None;
    let mut at = 0;
    let mut number: u32 = 0;
    for line in text.split_inclusive('\n') {
        number = number.saturating_add(1);
        match mark(line) {
            Mark::None if begin.is_some() => {}
            Mark::None if is_blank(line) || line.starts_with('%') => {}
            Mark::None => begin = Some((at, number)),
            Mark::Start | Mark::StartWithContent | Mark::End => {
                if let Some((from, line)) = begin.take() {
                    documents.push(Document {
                        text: &text[from..at],
                        line,
                    });
                }
                if mark(line) == Mark::StartWithContent {
                    begin = Some((at, number));
                }
            }
        }
        at += line.len();
    }
    if let Some((from, line)) = begin {
        documents.push(Document {
            text: &text[from..],
            line,
        });
    }
    documents
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Start,
    StartWithContent,
    End,
}

fn mark(line: &str) -> Mark {
    // Nearly every line ends here.
    if !line.starts_with(['-', '.']) {
        return Mark::None;
    }
    let rest_of = |marker| {
        let rest: &str = line.strip_prefix(marker)?;
        (rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])).then_some(rest)
    };
    match (rest_of("---"), rest_of("...")) {
        (Some(rest), _) if is_blank(rest) => Mark::Start,
        (Some(_), _) => Mark::StartWithContent,
        (None, Some(_)) => Mark::End,
        (None, None) => Mark::None,
    }
}

/// Nothing, or a comment.
fn is_blank(line: &str) -> bool {
    let content = line.trim_start();
    content.is_empty() || content.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(u32, &str)> {
        documents(text)
            .into_iter()
            .map(|document| (document.line, document.text))
            .collect()
    }

    #[test]
    fn documents_begin_at_their_first_line_with_content() {
        assert_eq!(
            split("# a\n---\n\n# b\nx: 1\n---\ny: 2"),
            [(5, "x: 1\n"), (7, "y: 2")]
        );
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert_eq!(split("---\n---\n# only this\n--- # and this\n...\n"), []);
    }

    #[test]
    fn content_may_stand_beside_the_marker() {
        assert_eq!(
            split("--- {a: 1}\n--- {b: 2}\n"),
            [(1, "--- {a: 1}\n"), (2, "--- {b: 2}\n")]
        );
    }

    #[test]
    fn a_longer_line_of_dashes_is_content() {
        assert_eq!(split("----\n"), [(1, "----\n")]);
        assert_eq!(split("a: |\n  ---\n"), [(1, "a: |\n  ---\n")]);
    }

    #[test]
    fn the_end_marker_ends_a_document_and_windows_lines_count() {
        assert_eq!(
            split("a: 1\r\n...\r\nb: 2\r\n"),
            [(1, "a: 1\r\n"), (3, "b: 2\r\n")]
        );
    }
}
