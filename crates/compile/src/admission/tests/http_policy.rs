//! What HTTP rules do.

use super::{below, compare, object};

/// Rows on what stands beside the route of one rule; the fields are below the rule.
fn beside_route(rows: &[(&str, &str)]) {
    let rows: Vec<(String, &str)> = rows
        .iter()
        .map(|(more, expected)| (format!("route: [{{destination: {{host: a}}}}], {more}"), *expected))
        .collect();
    rules(&rows.iter().map(|(rule, expected)| (rule.as_str(), *expected)).collect::<Vec<_>>());
}

/// Rows on one rule; the fields are below it.
fn rules(rows: &[(&str, &str)]) {
    for (rule, expected) in rows {
        let spec = format!("{{hosts: [a.com], http: [{{{rule}}}]}}");
        let expected = below("spec.http[0]", expected);
        compare([(*rule, object("VirtualService", &spec), &*expected)]);
    }
}

#[test]
fn one_action() {
    rules(&[
        ("name: nothing", "!"),
        ("redirect: {uri: /}, route: [{destination: {host: a}}]", "!route"),
        ("redirect: {uri: /}, fault: {delay: {fixedDelay: 1s}}", "!fault"),
        ("redirect: {uri: /}, rewrite: {uri: /}", "!rewrite"),
        ("redirect: {uri: /}, directResponse: {status: 200}", "!directResponse"),
        ("directResponse: {status: 200}, route: [{destination: {host: a}}]", "!route"),
        ("directResponse: {status: 200}, fault: {delay: {fixedDelay: 1s}}", "!fault"),
        ("directResponse: {status: 200}, rewrite: {uri: /}", "!rewrite"),
        ("route: [{destination: {host: a}}, {destination: {host: b}}]", "!route"),
        ("route: [{destination: {host: a}, weight: 0}]", ""),
        ("route: [{destination: {host: a}, weight: -1}]", "!route[0].weight"),
        ("route: [{destination: {host: a}, weight: 5}, {destination: {host: b}}]", ""),
    ]);
    beside_route(&[
        ("mirror: {host: b}, mirrors: [{destination: {host: c}}]", "!mirrors"),
        ("mirror: {host: b_c}", "!mirror.host"),
        ("mirror: {host: b}, mirrorPercent: 101", "!mirrorPercent ?mirrorPercent"),
        ("mirror: {host: b}, mirrorPercent: 50", "?mirrorPercent"),
        ("mirror: {host: b}, mirrorPercentage: {value: 101}", "!mirrorPercentage.value"),
        ("mirror: {host: b}, mirrorPercentage: {value: -1}", "!mirrorPercentage.value"),
        ("mirrors: [{destination: {host: b}, percentage: {value: 101}}]", "!mirrors[0].percentage.value"),
        ("mirrors: [{destination: {host: '*'}}]", "!mirrors[0].destination.host"),
        ("timeout: 1500us", "!timeout"),
        ("timeout: 1s", ""),
    ]);
}

#[test]
fn redirects_and_responses() {
    let large = format!("directResponse: {{status: 200, body: {{string: {}}}}}", "x".repeat((100 << 10) + 1));
    let huge = format!("directResponse: {{status: 200, body: {{string: {}}}}}", "x".repeat((1 << 20) + 1));
    rules(&[
        ("redirect: {}", "!redirect"),
        ("redirect: {derivePort: FROM_PROTOCOL_DEFAULT}", ""),
        ("redirect: {uri: /a, prefixRewrite: /b}", "!redirect"),
        ("match: [{uri: {prefix: /a}}, {method: {exact: GET}}], redirect: {prefixRewrite: /b}", ""),
        ("match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}", "!redirect"),
        ("redirect: {uri: /, redirectCode: 399}", ""),
        ("redirect: {uri: /, redirectCode: 400}", "!redirect"),
        ("redirect: {uri: /, scheme: https}", ""),
        ("redirect: {uri: /, scheme: ftp}", "!redirect"),
        ("redirect: {port: 70000}", "!redirect"),
        ("directResponse: {status: 199}", "!directResponse.status"),
        ("directResponse: {status: 600}", ""),
        ("directResponse: {status: 601}", "!directResponse.status"),
        (&large, "?directResponse.body"),
        (&huge, "!directResponse.body"),
    ]);
}

#[test]
fn rewrites() {
    beside_route(&[
        ("rewrite: {uri: /}", ""),
        ("rewrite: {authority: b.com}", ""),
        ("rewrite: {}", "!rewrite"),
        ("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}", "!rewrite"),
        ("rewrite: {uriRegexRewrite: {match: a, rewrite: b}}", ""),
        ("rewrite: {uriRegexRewrite: {match: a}}", "!rewrite"),
        ("rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}", "!rewrite"),
        ("rewrite: {authority: b.com}, headers: {request: {set: {host: c.com}}}", "!headers.request"),
        ("headers: {request: {set: {host: c.com}, add: {':authority': d.com}}}", "!headers.request"),
        ("headers: {request: {set: {host: c.com}}}", ""),
    ]);
}

#[test]
fn headers() {
    beside_route(&[
        ("headers: {request: {set: {x-a: '%REQ(x)%'}, add: {x-b: 100%%}, remove: [x-c]}}", ""),
        ("headers: {request: {set: {x-a: 100%}}}", "!headers.request.set.x-a"),
        ("headers: {request: {set: {':path': /}}}", "!headers.request.set[\":path\"]"),
        ("headers: {request: {set: {'': a}}}", "!headers.request.set[\"\"]"),
        ("headers: {request: {remove: [Host]}}", "!headers.request.remove[0]"),
        ("headers: {request: {remove: [':authority']}}", "!headers.request.remove[0]"),
        ("headers: {response: {set: {Host: a}}}", "!headers.response.set.Host"),
        ("headers: {response: {add: {':status': '200'}}}", "!headers.response.add[\":status\"]"),
        ("headers: {response: {add: {x-a: '%A('}}}", "!headers.response.add.x-a"),
        ("headers: {response: {remove: ['']}}", "!headers.response.remove[0]"),
    ]);
    rules(&[
        (
            "route: [{destination: {host: a}, headers: {response: {set: {host: b}}}}]",
            "!route[0].headers.response.set.host",
        ),
        ("route: [{destination: {host: a}, headers: {request: {add: {host: b}}}}]", ""),
    ]);
}

#[test]
fn origins() {
    beside_route(&[
        ("corsPolicy: {allowOrigins: [{exact: https://a.com}], allowMethods: ['*', GET]}", ""),
        ("corsPolicy: {allowOrigins: [{}]}", "!corsPolicy.allowOrigins[0]"),
        ("corsPolicy: {allowOrigins: [{exact: ''}]}", "!corsPolicy.allowOrigins[0]"),
        ("corsPolicy: {allowOrigins: [{regex: '('}]}", "!corsPolicy.allowOrigins[0]"),
        ("corsPolicy: {allowMethods: [get]}", "!corsPolicy.allowMethods[0]"),
        ("corsPolicy: {allowHeaders: ['*', x-a]}", ""),
        ("corsPolicy: {allowHeaders: ['x a']}", "!corsPolicy.allowHeaders[0]"),
        ("corsPolicy: {exposeHeaders: ['']}", "!corsPolicy.exposeHeaders[0]"),
        ("corsPolicy: {maxAge: 1500ms}", "!corsPolicy.maxAge"),
        ("corsPolicy: {maxAge: 24h}", ""),
    ]);
}

#[test]
fn faults() {
    beside_route(&[
        ("fault: {}", "!fault"),
        ("fault: {abort: {httpStatus: 503, percentage: {value: 0.0001}}}", ""),
        ("fault: {abort: {httpStatus: 503, percentage: {value: 0.00001}}}", "!fault.abort.percentage.value"),
        ("fault: {abort: {httpStatus: 503, percentage: {value: 101}}}", "!fault.abort.percentage.value"),
        ("fault: {abort: {httpStatus: 199}}", "!fault.abort.httpStatus"),
        ("fault: {abort: {grpcStatus: UNAVAILABLE}}", ""),
        ("fault: {abort: {grpcStatus: unavailable}}", "!fault.abort.grpcStatus"),
        ("fault: {abort: {http2Error: REFUSED}}", "!fault.abort.http2Error"),
        // A fault without an error is a warning that is lost on the way.
        ("fault: {abort: {percentage: {value: 1}}}", ""),
        ("fault: {delay: {fixedDelay: 1500us}}", "!fault.delay.fixedDelay"),
        ("fault: {delay: {fixedDelay: 1s, percentage: {value: -1}}}", "!fault.delay.percentage.value"),
        ("fault: {delay: {exponentialDelay: 1s}}", "!fault.delay.exponentialDelay"),
    ]);
}

#[test]
fn retries() {
    beside_route(&[
        ("retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,503,gateway-error'}", ""),
        ("retries: {attempts: 0}", ""),
        ("retries: {attempts: -1}", "!retries.attempts"),
        ("retries: {attempts: 0, retryOn: 5xx}", "!retries.attempts"),
        ("retries: {attempts: 0, perTryTimeout: 1s}", "!retries.attempts"),
        ("retries: {attempts: 0, retryRemoteLocalities: false}", "!retries.attempts"),
        ("retries: {attempts: 1, perTryTimeout: 1500us}", "!retries.perTryTimeout"),
        ("retries: {attempts: 1, backoff: 1500us}", "!retries.backoff"),
        ("retries: {attempts: 1, retryOn: '5xx, reset'}", "!retries.retryOn"),
        ("retries: {attempts: 1, retryOn: '599'}", "!retries.retryOn"),
        ("retries: {attempts: 1, retryOn: sometimes}", "!retries.retryOn"),
    ]);
}
