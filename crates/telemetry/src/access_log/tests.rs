//! Lines as text, and what holds for every line.

use std::sync::Mutex;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::details::{Details, ResetReason};
use crate::flags::{Flag, Flags};
use crate::record::Reason;
use crate::samples;

fn request_line(format: Format, record: &RequestRecord) -> String {
    let mut out = Vec::new();
    LineEncoder::new(format).request(record, &mut out);
    String::from_utf8(out).expect("always UTF-8")
}

fn tcp_line(format: Format, record: &TcpRecord) -> String {
    let mut out = Vec::new();
    LineEncoder::new(format).tcp(record, &mut out);
    String::from_utf8(out).expect("always UTF-8")
}

#[test]
fn json_of_a_request() {
    let expected = concat!(
        r#"{"authority":"shop.example.com","bytes_received":0,"bytes_sent":512,"#,
        r#""connection_termination_details":null,"downstream_local_address":"10.42.0.9:8443","#,
        r#""downstream_remote_address":"203.0.113.9:50422","duration":14,"method":"GET","#,
        r#""path":"/cart?id=7","protocol":"HTTP/2","request_id":"2f1c0e6a-0d3b-9d1e-8a55-4f7b2d9c1e00","#,
        r#""requested_server_name":"shop.example.com","response_code":200,"#,
        r#""response_code_details":"via_upstream","response_flags":"-","route_name":"cart","#,
        r#""start_time":"2026-08-01T12:00:00.123Z","upstream_cluster":"outbound|80||cart.shop.svc.cluster.local","#,
        r#""upstream_host":"10.42.1.7:8080","upstream_local_address":"10.42.0.9:41822","#,
        r#""upstream_service_time":"13","upstream_transport_failure_reason":null,"#,
        r#""user_agent":"curl/8","x_forwarded_for":"203.0.113.9"}"#,
        "\n"
    );
    assert_eq!(request_line(Format::Json, &samples::request()), expected);
}

#[test]
fn text_of_a_request() {
    let expected = concat!(
        r#"[2026-08-01T12:00:00.123Z] "GET /cart?id=7 HTTP/2" 200 - via_upstream - "-" 0 512 14 13 "#,
        r#""203.0.113.9" "curl/8" "2f1c0e6a-0d3b-9d1e-8a55-4f7b2d9c1e00" "shop.example.com" "#,
        r#""10.42.1.7:8080" outbound|80||cart.shop.svc.cluster.local 10.42.0.9:41822 "#,
        "10.42.0.9:8443 203.0.113.9:50422 shop.example.com cart\n"
    );
    assert_eq!(request_line(Format::Text, &samples::request()), expected);
}

#[test]
fn nothing_known_is_null_or_a_dash() {
    let record = RequestRecord::new(samples::started());
    let expected = concat!(
        r#"{"authority":null,"bytes_received":0,"bytes_sent":0,"connection_termination_details":null,"#,
        r#""downstream_local_address":null,"downstream_remote_address":null,"duration":0,"method":null,"#,
        r#""path":null,"protocol":null,"request_id":null,"requested_server_name":null,"response_code":0,"#,
        r#""response_code_details":null,"response_flags":"-","route_name":null,"#,
        r#""start_time":"2026-08-01T12:00:00.123Z","upstream_cluster":null,"upstream_host":null,"#,
        r#""upstream_local_address":null,"upstream_service_time":null,"#,
        r#""upstream_transport_failure_reason":null,"user_agent":null,"x_forwarded_for":null}"#,
        "\n"
    );
    assert_eq!(request_line(Format::Json, &record), expected);
    let expected = "[2026-08-01T12:00:00.123Z] \"- - -\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - - - - -\n";
    assert_eq!(request_line(Format::Text, &record), expected);
}

#[test]
fn a_connection_that_no_chain_took() {
    let record = TcpRecord {
        flags: Flags::of(Flag::NoRouteFound),
        details: Some(Details::FILTER_CHAIN_NOT_FOUND),
        ..TcpRecord::new(samples::started())
    };
    let line = tcp_line(Format::Text, &record);
    let shape = "] \"- - -\" 0 NR filter_chain_not_found - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - ";
    assert!(line.contains(shape), "{line}");
}

#[test]
fn a_tcp_session() {
    let line: Value = serde_json::from_str(&tcp_line(Format::Json, &samples::tcp())).unwrap();
    assert_eq!(line["response_code"], 0);
    assert_eq!((&line["method"], &line["protocol"]), (&Value::Null, &Value::Null));
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&1_000.into(), &2_000.into()));
    assert_eq!((&line["duration"], &line["response_flags"]), (&3_000.into(), &"-".into()));
    assert_eq!(line["downstream_remote_address"], "[2001:db8::1]:50422");
}

#[test]
fn a_refusal_names_the_object() {
    let object: Option<Arc<str>> = Some("VirtualService default/app http[0]".into());
    let record = RequestRecord {
        response_code: 503,
        flags: [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure].into_iter().collect(),
        details: Some(Details::reset_before_response(
            ResetReason::RemoteConnectionFailure,
            Some("delayed connect error: Connection refused"),
        )),
        reason: Some(Box::new(Reason { object, why: "no endpoint of reviews:80 is ready".into() })),
        ..samples::request()
    };
    let line = request_line(Format::Json, &record);
    let part = r#""path":"/cart?id=7","portcullis_reason":"VirtualService default/app http[0]: no endpoint of reviews:80 is ready","protocol""#;
    assert!(line.contains(part), "{line}");
    assert!(line.contains(r#""response_flags":"URX,UF""#), "{line}");
    assert!(!request_line(Format::Text, &record).contains("reviews"));
    let alone = RequestRecord { reason: Some(Box::new(Reason { object: None, why: "x".into() })), ..record };
    assert!(request_line(Format::Json, &alone).contains(r#""portcullis_reason":"x","#));
}

#[test]
fn keys_are_sorted() {
    let record = RequestRecord {
        reason: Some(Box::new(Reason { object: None, why: "x".into() })),
        ..samples::request()
    };
    let line = request_line(Format::Json, &record);
    let object: std::collections::BTreeMap<String, Value> = serde_json::from_str(&line).unwrap();
    let places: Vec<_> = object.keys().map(|key| line.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    assert_eq!(object.len(), 25);
}

/// Keeps what it is given.
#[derive(Default)]
struct Kept(Mutex<Vec<(Vec<u8>, u32)>>);

impl LogSink for Kept {
    fn submit(&self, batch: Vec<u8>, lines: u32) {
        self.0.lock().unwrap().push((batch, lines));
    }
}

#[test]
fn batches_hold_whole_lines_and_none_is_lost() {
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn LogSink> = Arc::clone(&kept) as _;
    let mut buffer = LogBuffer::new(Format::Json, sink);
    buffer.flush();
    assert!(kept.0.lock().unwrap().is_empty() && buffer.is_empty());
    for _ in 0..200 {
        buffer.request(&samples::request());
        buffer.tcp(&samples::tcp());
    }
    let full = kept.0.lock().unwrap().len();
    assert!(full >= 2, "{full}");
    drop(buffer);
    let batches = kept.0.lock().unwrap();
    assert_eq!(batches.len(), full + 1);
    assert_eq!(batches.iter().map(|(_, lines)| lines).sum::<u32>(), 400);
    for (batch, lines) in batches.iter() {
        assert_eq!(batch.iter().filter(|&&byte| byte == b'\n').count(), *lines as usize);
        assert!(batch.ends_with(b"}\n") && batch.len() < BATCH_BYTES + 2_048);
    }
}

fn peer_bytes() -> impl Strategy<Value = Option<Bytes>> {
    let hostile = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[\\PC\"\\\\\n\r\t\u{0}-\u{1f}\u{7f}\u{2028}]{0,20}".prop_map(String::into_bytes),
    ];
    proptest::option::of(hostile.prop_map(Bytes::from))
}

fn peer_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(any::<String>())
}

prop_compose! {
    fn record()(
        headers in proptest::array::uniform6(peer_bytes()),
        texts in proptest::array::uniform4(peer_text()),
        code in any::<u16>(),
        counts in any::<(u64, u64, Option<u64>)>(),
        flags in proptest::collection::vec(proptest::sample::select(Flag::ALL), 0..12),
    ) -> RequestRecord {
        let [method, path, authority, user_agent, request_id, x_forwarded_for] = headers;
        let [sni, failure, why, route] = texts;
        RequestRecord {
            method, path, authority, user_agent, request_id, x_forwarded_for,
            response_code: code,
            bytes_received: counts.0,
            bytes_sent: counts.1,
            upstream_service_time: counts.2,
            flags: flags.into_iter().collect(),
            details: failure.as_deref().map(Details::new),
            upstream_transport_failure_reason: failure.map(Into::into),
            sni: sni.map(Into::into),
            route_name: route.map(Into::into),
            reason: why.map(|why| Box::new(Reason { object: None, why: why.into() })),
            ..RequestRecord::new(samples::started())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_peers_send_is_one_valid_line(record in record()) {
        let json = request_line(Format::Json, &record);
        prop_assert!(json.ends_with('\n') && json.matches('\n').count() == 1);
        prop_assert!(!json.trim_end().contains(|char: char| char.is_ascii_control()));
        let object: Value = serde_json::from_str(&json).expect("one object");
        prop_assert!(object["response_code"].is_u64() && object["response_flags"].is_string());
        // What is UTF-8 comes back as it went in.
        for (key, value) in [("path", &record.path), ("authority", &record.authority), ("user_agent", &record.user_agent)] {
            match value.as_deref().map(std::str::from_utf8) {
                None => prop_assert!(object[key].is_null()),
                Some(Ok(text)) => prop_assert_eq!(&object[key], text),
                Some(Err(_)) => prop_assert!(object[key].is_string()),
            }
        }
        let text = request_line(Format::Text, &record);
        prop_assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
        prop_assert!(!text.trim_end().contains(|char: char| char.is_ascii_control()));
        prop_assert_eq!(columns(text.trim_end_matches('\n')), 22);
    }
}

/// Columns of a TEXT line: spaces outside of quotes and brackets part them.
fn columns(line: &str) -> usize {
    let (mut columns, mut quoted, mut escaped) = (1, false, false);
    for char in line.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => columns += 1,
            _ => {}
        }
    }
    assert!(!quoted, "{line}");
    columns
}
