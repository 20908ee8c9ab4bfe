//! Parsing and rendering of header values.

use super::*;

struct Names;
impl Context for Names {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) {
        if let Operator::Request { name, .. } = operator {
            out.extend_from_slice(name.as_bytes());
        }
    }
}

fn rendered(text: &str) -> String {
    let template = Template::parse(text).expect("parses");
    String::from_utf8(template.render(&Names).to_vec()).expect("text")
}

#[test]
fn literals_and_operators() {
    assert_eq!(rendered("100%% sure"), "100% sure");
    assert_eq!(rendered("a-%REQ(:PATH)%-b"), "a-:path-b");
    assert_eq!(rendered("%PROTOCOL%"), "");
    assert_eq!(rendered("a%FILTER_STATE(x:PLAIN):3%%TRACE_ID%b"), "ab");
    assert!(matches!(Template::parse("plain"), Ok(Template::Literal(_))));
}

#[test]
fn arguments() {
    let Ok(Template::Parts(parts)) = Template::parse("%REQ(X-A?X-B):10%") else { panic!("parts") };
    let expected = Operator::Request { name: "x-a".into(), alternative: Some("x-b".into()), max: Some(10) };
    assert_eq!(parts, [Part::Operator(expected)]);
}

#[test]
fn targets() {
    for (text, expected) in [
        ("%PATH%", Operator::Path { query: true, which: Which::Now }),
        ("%PATH(NQ)%", Operator::Path { query: false, which: Which::Now }),
        ("%PATH(WQ:ORIG)%", Operator::Path { query: true, which: Which::Original }),
        ("%QUERY_PARAMS(ORIG_OR_PATH)%", Operator::Query(Which::OriginalOrNow)),
        ("%GRPC_STATUS%", Operator::GrpcStatus(GrpcForm::Camel)),
        ("%GRPC_STATUS(SNAKE_STRING)%", Operator::GrpcStatus(GrpcForm::Snake)),
        ("%GRPC_STATUS_NUMBER%", Operator::GrpcStatus(GrpcForm::Number)),
        ("%ENVIRONMENT(HOME)%", Operator::Environment("HOME".into())),
        ("%DYNAMIC_METADATA(a:b)%", Operator::Valueless("DYNAMIC_METADATA(a:b)".into())),
        ("%QUERY_PARAM(a):3%", Operator::QueryParameter { name: "a".into(), max: Some(3) }),
    ] {
        assert_eq!(
            Template::parse(text),
            Ok(Template::Parts(vec![Part::Operator(expected.clone())])),
            "{text}"
        );
    }
}

#[test]
fn refused() {
    let grpc = ["%GRPC_STATUS(X)%", "%GRPC_STATUS_NUMBER(X)%", "%TRACE_ID(x)%", "%METADATA%"];
    let plain = ["%", "50% off", "%NOPE%", "%REQ%", "%REQ()%", "%REQ(a):x%", "%REQ(a%", "%PATH(X)%"];
    for text in plain.into_iter().chain(grpc) {
        assert!(Template::parse(text).is_err(), "{text}");
    }
}
