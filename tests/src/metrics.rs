//! Metrics as Prometheus reads them.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

/// One line of a scrape.
#[derive(Debug)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

// === impl Metrics ===

impl Metrics {
    /// Reads the text format.
    ///
    /// # Panics
    ///
    /// If a line is not of this format.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(Sample::parse).collect())
    }

    /// All samples of `name` that have `labels`, among others.
    pub fn samples<'m>(
        &'m self,
        name: &'m str,
        labels: &'m [(&'m str, &'m str)],
    ) -> impl Iterator<Item = &'m Sample> {
        let has = move |sample: &&Sample| {
            let label = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|held| held == value)
            };
            sample.name == name && labels.iter().all(label)
        };
        self.0.iter().filter(has)
    }

    /// The sum of what `samples` gives; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).map(|sample| sample.value).sum()
    }
}

// === impl Sample ===

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a value follows the series");
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let inner = rest.strip_suffix('}').expect("labels end with a brace");
        Self {
            name: name.to_owned(),
            labels: labels(inner),
            value: value.parse().expect("a value is a number"),
        }
    }
}

/// `a="x",b="y"`; a value may hold escaped quotes.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start_matches(',');
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        rest = quoted[end..].trim_start_matches(',');
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_any_of_their_labels() {
        let metrics =
            Metrics::parse("# HELP a x\na{b=\"1\",c=\"q\\\"x\"} 2\na{b=\"2\",c=\"\"} 3\nd 0.5\n");

        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.sum("a", &[("c", "q\"x")]), 2.0);
        assert_eq!(metrics.sum("a", &[("b", "2"), ("c", "")]), 3.0);
        assert_eq!(metrics.sum("d", &[]), 0.5);
        assert_eq!(metrics.samples("a", &[("b", "3")]).count(), 0);
    }
}
