//! The examples for Terraform: that they are its language, that the gateway accepts what they make, and that the values they
//! install the chart with are values of the chart.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use hcl::eval::{Context, Evaluate as _};
use hcl::{Block, Body, Expression};
use portcullis_tests::gateway::binary;
use portcullis_tests::helm::{Helm, deployed};
use portcullis_tests::process::run;
use serde_json::Value;

/// Every file of the examples.
fn bodies() -> Vec<Body> {
    let files =
        fs::read_dir(deployed("terraform")).expect("the examples").map(|it| it.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "tf"));
    let read = |path| {
        hcl::parse(&fs::read_to_string(&path).expect("text")).unwrap_or_else(|it| panic!("{path:?}: {it}"))
    };
    let bodies: Vec<Body> = files.map(read).collect();
    assert!(bodies.len() >= 4);
    bodies
}

/// The blocks that begin with these words.
fn blocks<'a>(bodies: &'a [Body], words: &[&str]) -> Vec<&'a Block> {
    let all = bodies.iter().flat_map(Body::blocks);
    let begins = |block: &&Block| {
        let labels = block.labels().iter().map(hcl::BlockLabel::as_str);
        let mut own = std::iter::once(block.identifier()).chain(labels);
        words.iter().all(|word| own.next() == Some(word))
    };
    all.filter(begins).collect()
}

fn attribute<'a>(block: &'a Block, name: &str) -> &'a Expression {
    let found = block.body().attributes().find(|attribute| attribute.key() == name);
    found.unwrap_or_else(|| panic!("no {name}")).expr()
}

/// Expressions see the variables as they are where nobody sets them.
fn defaults(bodies: &[Body]) -> Context<'static> {
    let variables = blocks(bodies, &["variable"]).into_iter().map(|block| {
        let value = attribute(block, "default").evaluate(&Context::new()).expect("a default");
        (block.labels()[0].as_str().to_owned(), value)
    });
    let mut context = Context::new();
    context.declare_var("var", hcl::Value::Object(variables.collect()));
    context
}

fn json(expression: &Expression, context: &Context<'_>) -> Value {
    let value = expression.evaluate(context).expect("a value");
    serde_json::to_value(value).expect("JSON")
}

#[test]
fn the_gateway_accepts_what_the_examples_make() {
    let bodies = bodies();
    let context = defaults(&bodies);
    let manifests = blocks(&bodies, &["resource", "kubernetes_manifest"]);
    let manifests = manifests.into_iter().map(|block| json(attribute(block, "manifest"), &context));
    let (own, others): (Vec<Value>, Vec<Value>) = manifests
        .partition(|it| it["apiVersion"].as_str().is_some_and(|it| it.starts_with("networking.istio.io/")));
    assert_eq!((own.len(), others.len()), (3, 1));
    let folder = tempfile::tempdir().expect("a folder");
    for (number, manifest) in own.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.yaml")), manifest.to_string()).expect("a manifest");
    }
    let mut command = Command::new(binary());
    command.args(["check", "-o", "json"]).arg(folder.path()).stdin(Stdio::null());
    let checked = run(&mut command, Duration::from_secs(60)).expect("it runs");
    let report: Value = serde_json::from_str(&checked.stdout).expect("a report");
    assert_eq!(report["objects"], 3);
    // What they refer to is elsewhere; nothing else is wrong with them.
    for finding in report["findings"].as_array().expect("findings") {
        assert_eq!(finding["code"], "IST0101", "{finding}");
    }
    // The Certificate makes the Secret that the Gateway names, where the gateway looks for it.
    let gateway = own.iter().find(|it| it["kind"] == "Gateway").expect("a Gateway");
    assert_eq!(others[0]["spec"]["secretName"], gateway["spec"]["servers"][1]["tls"]["credentialName"]);
    assert_eq!(others[0]["metadata"]["namespace"], "istio-system");
}

#[test]
fn the_values_are_the_chart_s() {
    let bodies = bodies();
    let release = blocks(&bodies, &["resource", "helm_release"])[0];
    let Expression::Array(values) = attribute(release, "values") else { panic!("values are a list") };
    let Expression::FuncCall(encoded) = &values[0] else { panic!("values are encoded") };
    let values = json(&encoded.args[0], &defaults(&bodies));
    let Some(helm) = Helm::find() else { return };
    let file = tempfile::NamedTempFile::new().expect("a file for the values");
    fs::write(file.path(), values.to_string()).expect("the values");
    let rendered = helm.template("istio-system", &["--values", &file.path().to_string_lossy()]);
    assert_eq!(rendered.code(), 0, "{}", rendered.stderr);
    assert!(rendered.stdout.contains("kind: PodDisruptionBudget"));
}
