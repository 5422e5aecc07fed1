//! Texts that nobody would write: they may be wrong, but never more than that.

use std::fmt::Write as _;

use config::load::parse;
use proptest::prelude::*;

/// Pieces from which texts come that a YAML parser takes seriously.
const PIECES: &[&str] = &[
    "apiVersion: networking.istio.io/v1\n",
    "kind: VirtualService\n",
    "kind: List\n",
    "metadata:\n",
    "  name: a\n",
    "spec:\n",
    "  http:\n",
    "  - route: [{destination: {host: b}}]\n",
    "items:\n",
    "- ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "---\n",
    "...\n",
    "--- ",
    "&a ",
    "*a",
    "<<: ",
    "!t ",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    "\"",
    "|\n",
    ">\n",
    "#",
    "%YAML 1.2\n",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "\u{1f600}",
    "~",
    ".nan",
    "0x1",
    "1e400",
    "null",
    "weight: x\n",
    "\0",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    let loaded = parse("x.yaml", text, "default");

    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for problem in &loaded.problems {
        let line = text.lines().nth(problem.line as usize - 1);
        let width = match line {
            Some(line) => line.chars().count(),
            None => {
                prop_assert_eq!(problem.line, 1, "{}", problem);
                0
            }
        };
        prop_assert!(
            problem.column >= 1 && problem.column as usize <= width + 1,
            "{}",
            problem
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_at_a_place_inside_it(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn any_mix_of_yaml_is_read_or_refused_at_a_place_inside_it(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60),
    ) {
        holds(&pieces.concat())?;
    }

    #[test]
    fn a_rule_of_any_names_and_values_never_panics(
        fields in prop::collection::vec(("[a-zA-Z\\[\\].\"]{1,8}", "[ -~]{0,12}"), 0..6),
    ) {
        let mut text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n".to_owned();
        for (name, value) in fields {
            writeln!(text, "  {name}: {value}").unwrap();
        }
        holds(&text)?;
    }
}
