//! Documents with route tests.

use std::sync::LazyLock;

use super::conform::{Manner, conform};
use super::duplicate::report_duplicates;
use super::node::Node;
use super::path::Path;
use super::report::{Note, Report};
use super::{parse, split};
use crate::finding::{Code, Finding};
use crate::meta::ObjectRef;
use crate::route_test::{GROUP, KIND, RouteTest, RouteTestSpec, VERSIONS};
use crate::schema::{Shape, shape_of};

static SHAPE: LazyLock<Shape> = LazyLock::new(shape_of::<RouteTestSpec>);

/// Reads the route tests of a text and nothing else of it. A document in which anything is wrong yields findings in
/// place of cases: a test that is only half understood shows nothing.
#[must_use]
pub fn route_tests(source: &str, text: &str) -> (Vec<RouteTest>, Vec<Finding>) {
    let mut report = Report::new(source.into());
    let mut tests = Vec::new();
    if text.len() > super::MAX_SOURCE_BYTES {
        return (tests, report.finish());
    }
    for chunk in split::split(text) {
        // A document that is no YAML is reported where resources are read.
        for node in parse::parse(chunk).into_iter().flatten().filter(is_one) {
            tests.extend(read(node, &mut report));
        }
    }
    (tests, report.finish())
}

/// Whether a document holds route tests.
pub(super) fn is_one(node: &Node) -> bool {
    let text = |key: &str| node.entry(key).and_then(Node::text).unwrap_or_default();
    text("kind") == KIND && text("apiVersion").split('/').next() == Some(GROUP)
}

fn read(mut node: Node, report: &mut Report) -> Option<RouteTest> {
    let name = node.entry("metadata").and_then(|meta| meta.entry("name")?.text());
    let name = name.unwrap_or_default().to_owned();
    report.object = Some(ObjectRef { kind: KIND.into(), namespace: String::new(), name: name.clone() });
    let (mark, before) = (node.mark, report.count());
    report_duplicates(&node, &Path::ROOT, report);
    if let Some((_, version)) = node.take("apiVersion") {
        let known = version.text().and_then(|text| text.strip_prefix(GROUP)?.strip_prefix('/'));
        if known.is_none_or(|known| !VERSIONS.contains(&known)) {
            report.add(Note {
                code: Code::WrongVersion,
                mark: version.mark,
                field: "apiVersion".into(),
                message: "there is no such version of the format".into(),
                remedy: format!("write {GROUP}/{}", VERSIONS[0]),
            });
        }
    }
    node.take("kind");
    node.take("metadata");
    let spec = node.take("spec");
    conform(node, &Shape::Record(crate::schema::Record::default()), &Path::ROOT, Manner::Custom, report);
    let Some((_, spec)) = spec else {
        report.add(Note {
            code: Code::MissingField,
            mark,
            field: "spec".into(),
            message: "the required field spec is missing".into(),
            remedy: String::new(),
        });
        return None;
    };
    let lines = spec.entry("cases").and_then(Node::list).unwrap_or_default();
    let lines: Vec<u32> = lines.iter().map(|case| case.mark.line).collect();
    let value = conform(spec, &SHAPE, &Path::ROOT.key("spec"), Manner::Custom, report);
    if report.count() > before {
        return None;
    }
    let spec: RouteTestSpec = serde_json::from_value(value).ok()?;
    Some(RouteTest {
        name,
        source: report.source.clone(),
        cases: lines.into_iter().zip(spec.cases).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: RouteTest
metadata: {name: shop}
spec:
  cases:
  - request: GET https://a.com/
    expect: {destination: {host: a, port: 80}}
  - name: second
    request: tcp://:9000
    headers: {x-a: b}
    expect: {refused: true}
";

    #[test]
    fn cases_know_their_lines_and_are_no_resources() {
        let (tests, findings) = route_tests("t.yaml", FINE);
        assert_eq!(findings, []);
        let cases = &tests[0].cases;
        assert_eq!((cases[0].0, cases[1].0), (6, 8));
        assert_eq!(cases[0].1.expect.destination.as_ref().and_then(|to| to.port), Some(80));
        let loaded = super::super::load("t.yaml", FINE);
        assert_eq!((loaded.objects.len(), loaded.findings.len()), (0, 0));
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_field() {
        for (from, to, field, line) in [
            ("expect: {refused", "expct: {refused", "spec.cases[1].expct", 11),
            ("port: 80", "prot: 80", "spec.cases[0].expect.destination.prot", 7),
            ("port: 80", "port: many", "spec.cases[0].expect.destination.port", 7),
            ("v1alpha1", "v2", "apiVersion", 1),
            ("{refused: true}", "{refused: true, error: {status: 404}}", "spec.cases[1].expect", 11),
            ("{refused: true}", "{}", "spec.cases[1].expect", 11),
            ("name: second", "name: second\n    name: third", "spec.cases[1].name", 9),
        ] {
            let (tests, findings) = route_tests("t.yaml", &FINE.replacen(from, to, 1));
            assert!(tests.is_empty(), "{to}");
            let places: Vec<(&str, u32)> = findings.iter().map(|found| (&*found.field, found.line)).collect();
            assert!(places.contains(&(field, line)), "{to}: {places:?}");
        }
    }
}
