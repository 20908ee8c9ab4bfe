//! Metrics in Prometheus' text format, as a test asks about them.

/// The samples of one scrape.
pub struct Samples {
    text: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Reads a page; comments are passed over.
    ///
    /// # Panics
    /// On a line that is no sample.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let rows = samples.map(|line| row(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect();
        Self { text: text.to_owned(), rows }
    }

    /// The counters and gauges that are not zero: what a failure has to show.
    pub fn counters(&self) -> String {
        let shown =
            |line: &&str| !line.starts_with('#') && !line.contains("_bucket{") && !line.ends_with(" 0");
        self.text.lines().filter(shown).collect::<Vec<_>>().join("\n")
    }

    /// The sum over every series called `name` that has all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).iter().map(|row| row.value).sum()
    }

    /// The labels of the only series called `name` that has all of these labels, in their order.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn labels(&self, name: &str, labels: &[(&str, &str)]) -> &[(String, String)] {
        let found = self.matching(name, labels);
        assert_eq!(found.len(), 1, "{name} {labels:?} in\n{}", self.counters());
        &found[0].labels
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Row> {
        let has = |row: &Row, (key, value): &(&str, &str)| {
            row.labels.iter().any(|(own, held)| own == key && held == value)
        };
        let matches = |row: &&Row| row.name == name && labels.iter().all(|label| has(row, label));
        self.rows.iter().filter(matches).collect()
    }
}

fn row(line: &str) -> Option<Row> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Row { name: series.to_owned(), labels: Vec::new(), value });
    };
    // No value in these tests holds a quotation mark.
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once("=\"")?;
        let (value, tail) = tail.split_once('"')?;
        labels.push((key.to_owned(), value.to_owned()));
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    Some(Row { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_their_labels() {
        let samples = Samples::parse("# TYPE a counter\na{x=\"1\",y=\"p q\"} 2\na{x=\"2\",y=\"\"} 3\nb 4\n");
        assert_eq!(samples.sum("a", &[]), 5.0);
        assert_eq!(samples.sum("a", &[("x", "2")]), 3.0);
        assert_eq!(samples.sum("b", &[]), 4.0);
        let labels = [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "p q".to_owned())];
        assert_eq!(samples.labels("a", &[("x", "1")]), labels);
    }
}
