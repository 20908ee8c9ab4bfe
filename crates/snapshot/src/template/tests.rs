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
        ("%QUERY_PARAMS(ORIG)%", Operator::Query(Which::Original)),
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
fn what_is_asked_for_in_several_ways() {
    let metadata =
        |of, keys: &[&str]| Operator::Metadata { of, path: keys.iter().map(|&key| key.into()).collect() };
    let header = |name: &str| Operator::Request { name: name.into(), alternative: None, max: None };
    let block = |bits| Operator::Block { address: PlainOperator::UpstreamLocalAddressWithoutPort, bits };
    for (text, expected) in [
        ("%REQUEST_HEADER(X-A)%", header("x-a")),
        ("%METADATA(ROUTE:istio:config)%", metadata(MetadataOf::Route, &["istio", "config"])),
        ("%CLUSTER_METADATA(istio)%", metadata(MetadataOf::Cluster, &["istio"])),
        (
            r#"%UPSTREAM_METADATA(["istio", "workload"])%"#,
            metadata(MetadataOf::Endpoint, &["istio", "workload"]),
        ),
        ("%METADATA(LISTENER:istio)%", Operator::Valueless("METADATA(LISTENER:istio)".into())),
        ("%REQUESTED_SERVER_NAME(HOST_FIRST)%", Operator::ServerName { host_first: true }),
        ("%REQUESTED_SERVER_NAME(SNI_ONLY)%", Operator::Plain(PlainOperator::RequestedServerName)),
        ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", Operator::Plain(PlainOperator::ResponseCodeDetails)),
        ("%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8)%", block(8)),
        (
            "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(x)%",
            Operator::Plain(PlainOperator::UpstreamLocalAddressWithoutPort),
        ),
        ("%START_TIME%", Operator::Time { moment: Moment::Start, format: None }),
    ] {
        let parsed = Template::parse(text);
        assert_eq!(parsed, Ok(Template::Parts(vec![Part::Operator(expected.clone())])), "{text}");
    }
}

#[test]
fn written_as_they_were() {
    for text in [
        "%START_TIME(%Y-%m-%d %3f)%",
        "%EMIT_TIME_LOCAL%",
        "%DOWNSTREAM_PEER_CERT_V_START(%b %d %H:%M:%S %Y %Z)%",
        "%METADATA(CLUSTER:istio:subset)%",
        "%REQUESTED_SERVER_NAME(SNI_FIRST)%",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%",
        "%COMMON_DURATION(DS_RX_BEG:US_HS_END:us)%",
        "%COMMON_DURATION(mine:DS_TX_END)%",
        "%QUERY_PARAMS(DECODED)%",
    ] {
        let Ok(Template::Parts(parts)) = Template::parse(text) else { panic!("{text}") };
        let [Part::Operator(operator)] = &*parts else { panic!("{text}") };
        assert_eq!(operator.to_string(), text);
    }
}

#[test]
fn refused() {
    let grpc =
        ["%GRPC_STATUS(X)%", "%GRPC_STATUS_NUMBER(X)%", "%TRACE_ID(x)%", "%METADATA%", "%METADATA(X:a)%"];
    let named =
        ["%REQUESTED_SERVER_NAME(x)%", "%PROTOCOL(x)%", "%START_TIME(%-d)%", "%UPSTREAM_METADATA([x])%"];
    let counted = ["%COMMON_DURATION%", "%COMMON_DURATION(a:b):3%", "%ROUTE_RESOLUTION_COUNT(x)%"];
    let plain = ["%", "50% off", "%NOPE%", "%REQ%", "%REQ()%", "%REQ(a):x%", "%REQ(a%", "%PATH(X)%"];
    for text in plain.into_iter().chain(grpc).chain(named).chain(counted) {
        assert!(Template::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_has_to_be_measured() {
    for (text, expected) in [
        ("plain", false),
        ("%DURATION%", false),
        ("%REQUEST_HEADERS_BYTES%", false),
        ("a%UPSTREAM_WIRE_BYTES_SENT%", true),
        ("%COMMON_DURATION(DS_RX_BEG:US_TX_BEG)%", true),
        ("%COMMON_DURATION(mine:US_TX_BEG)%", false),
    ] {
        assert_eq!(Template::parse(text).expect("parses").is_measured(), expected, "{text}");
    }
}

#[test]
fn expressions() {
    let parsed = |text: &str| match Template::parse(text) {
        Ok(Template::Parts(parts)) => match &*parts {
            [Part::Operator(operator @ Operator::Expression { expression, max, .. })] => {
                assert_eq!(operator.to_string(), text);
                (expression.to_string(), *max)
            }
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    };
    for (text, expected, max) in [
        ("%CEL(request.path)%", "request.path", None),
        ("%TYPED_CEL(request.path):12%", "request.path", Some(12)),
        ("%CEL((1 + 2) * 3)%", "(1 + 2) * 3", None),
        ("%CEL('a%b')%", "'a%b'", None),
        ("%CEL('a)b:1)(')%", "'a)b:1)('", None),
        ("%CEL(size('a'))%", "size('a')", None),
    ] {
        assert_eq!(parsed(text), (expected.to_owned(), max));
    }
    assert!(Template::parse("%REQ(a)b% and %REQ(c)%").is_err());
    for text in ["%CEL()%", "%CEL(request.)%", "%CEL('a)%b')%"] {
        let error = Template::parse(text);
        assert!(matches!(error, Err(TemplateError::Expression(..))), "{text}: {error:?}");
    }
    assert_eq!(Template::parse("%CEL%"), Err(TemplateError::Unknown("CEL".to_owned())));
}
