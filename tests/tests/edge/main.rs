//! Strict at the edge: hostile clients and hostile upstreams against the built gateway, on raw sockets.
//!
//! The table says for each weakness that was found in a proxy or in a library beneath one by which test it is shown that
//! this gateway does not have it. Tests without a path stand in the modules here; `http_framing` and the like are files
//! beside this folder. What concerns a feature that the gateway does not have (HTTP/3, caches, decompression, external
//! authorization, tokens) is left out.
//!
//! # Resources of HTTP/2
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2023-44487 rapid reset, CVE-2019-9514, CVE-2021-32778, RUSTSEC-2023-0034 = CVE-2023-26964, RUSTSEC-2024-0003 | `h2_floods::rapid_resets_end_the_connection`, `resets_behind_arrivals_end_the_connection`; honest use: `some_resets_are_nothing_unusual` |
//! | CVE-2025-8671 MadeYouReset, RUSTSEC-2025-0070 | `h2_floods::resets_that_the_gateway_is_made_to_send_end_the_connection` |
//! | CVE-2024-27919, CVE-2024-30255, RUSTSEC-2024-0332, CVE-2023-45288 CONTINUATION | `h2_floods::endless_header_blocks_end_the_connection`; from an upstream: `h2_upstream::floods_of_an_upstream_are_held_back_or_end_its_connection` |
//! | CVE-2019-9512 PING, CVE-2019-9515 SETTINGS | `h2_floods::unread_answers_hold_back_who_asks`; from an upstream: as above |
//! | CVE-2019-9513 PRIORITY, CVE-2019-9518 and other frames without effect | `h2_floods::frames_without_effect_hold_nothing` |
//! | RUSTSEC-2026-0258 empty DATA | `h2_floods::empty_data_ends_the_connection`; from an upstream: as above |
//! | CVE-2026-47774 crumbs of cookies, CVE-2016-6581 HPACK bomb | `h2_floods::crumbs_and_references_count_as_what_they_become` |
//! | 1xx without end | `h2_upstream::informational_answers_without_end_are_given_up`, `h1_reuse::informational_answers_without_end_are_given_up` |
//!
//! # Upstreams of HTTP/2
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2021-32780 GOAWAY, then SETTINGS without streams | `h2_upstream::a_goaway_before_settings_without_streams_harms_nobody`, `an_upstream_without_streams_is_waited_for_in_bounds` |
//! | CVE-2023-27491 invalid fields are forwarded | `h2_upstream::heads_with_invalid_fields_are_bad_gateway`, `heads_with_two_readings_are_bad_gateway`; the other way: `h2_requests::names_and_values_that_break_lines_are_refused` |
//! | frames against the rules, content that disagrees with its length | `h2_upstream::frames_against_the_rules_are_bad_gateway`, `bodies_that_break_off_break_off_for_the_client` |
//!
//! # Smuggling
//!
//! | weakness | test |
//! |---|---|
//! | any of the forms below, as servers read them that are not ours | `differential::no_two_servers_read_a_forwarded_request_differently` |
//! | CVE-2026-2835, Content-Length with Transfer-Encoding, HTTP/1.0 with Transfer-Encoding, CVE-2021-21299 several Transfer-Encoding lines, RUSTSEC-2020-0008 | `http_framing::transfer_codings_other_than_chunked_alone_are_refused` |
//! | CVE-2021-32715 `+` in a length, several lengths | `http_framing::ambiguous_lengths_are_refused` |
//! | CVE-2021-32714 overflow of a chunk size, endless extensions, bare LF | `http_framing::bad_chunks_are_refused` |
//! | obs-fold, blanks before the colon, lone CR and LF, NUL | `http_framing::lines_that_need_repair_are_refused` |
//! | missing and repeated Host | `http_framing::a_missing_host_is_refused`, `lines_that_need_repair_are_refused` |
//! | CVE-2026-48743 length that disagrees with the body (HTTP/2) | `h2_requests::lengths_that_do_not_agree_are_refused` |
//! | connection fields, pseudo-header fields, `:authority` beside `host`, trailers (HTTP/2) | `h2_requests::fields_of_connections_are_refused`, `pseudo_fields_that_are_no_request_line_are_refused`, `paths_beyond_ascii_are_refused`, `trailers_change_nothing` |
//! | CVE-2026-2833, CVE-2024-23326 upgrade that is answered oddly | `h1_reuse::an_upgrade_that_is_not_accepted_ends_both_connections`, `early_bytes_wait_until_the_upgrade_is_accepted` |
//! | CVE-2025-64763 CONNECT, h2c | `http_framing::upgrades_with_bodies_and_connect_are_refused` |
//! | CVE-2025-4366 body that an early answer left unread | `h1_reuse::the_rest_of_a_body_behind_an_early_answer_is_no_request`, `the_rest_of_a_body_behind_the_gateways_own_answer_is_no_request` |
//! | responses with two framings, broken chunks, bare CR or LF | `http_upstreams::heads_that_are_no_http_are_bad_gateway`, `bodies_that_break_off_break_off_for_the_client` |
//! | bytes behind a response, or before any request | `http_upstreams::what_follows_an_answer_reaches_nobody`, `a_kept_connection_that_speaks_unasked_is_not_used_again`, `h1_reuse::answers_with_something_behind_them_end_the_upstreams_connection`, `an_answer_before_any_request_is_nobodys` |
//! | framing in 1xx, lengths without content | `h1_reuse::informational_answers_frame_nothing`, `lengths_without_content_are_not_passed_on` |
//!
//! # Rules and how to get past them
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2026-26308, CVE-2020-25017, CVE-2021-32777 one of repeated headers | `trusted::repeated_headers_do_not_slip_past_a_rule` |
//! | CVE-2021-39155 case of the host | `names::hosts_are_compared_in_one_form` |
//! | CVE-2021-39156, CVE-2021-32779 fragments, CVE-2023-35944 case of the scheme | `h2_requests::schemes_and_fragments_are_no_way_around_a_rule` |
//! | CVE-2021-31920, CVE-2021-29492, CVE-2025-66490, CVE-2026-40912, CVE-2026-48020 slashes, escapes, prefixes | recordings `http-path-*` and `rewrite-*` (`cargo xtask conformance`), `portcullis_snapshot::path` |
//! | CVE-2024-23324 bytes in a PROXY header | `portcullis_dataplane::proxy_protocol`, fuzz target `proxy_protocol` |
//!
//! # Headers that upstreams trust
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2024-45806, CVE-2023-27487 `x-envoy-*` | `trusted::controls_of_clients_are_dropped` |
//! | CVE-2024-45410, CVE-2026-29054 `Connection: X-Forwarded-For` | `trusted::connection_names_none_of_the_gateways_own` |
//! | CVE-2026-39858, CVE-2026-54763, CVE-2026-88011 `_` and `.` for `-` | `trusted::aliases_of_the_gateways_headers_are_dropped`, `aliases_of_what_a_route_sets_or_removes_are_dropped` |
//! | CVE-2026-26310 scoped and other odd addresses | `trusted::what_is_no_address_is_not_trusted`, `forwarded_addresses_end_with_the_one_that_was_seen` |
//! | CVE-2023-27493 names of certificates in a header | `portcullis_dataplane`, tests of `x-forwarded-client-cert` |
//!
//! # Client certificates
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2022-46153, CVE-2026-85596, CVE-2026-85597, CVE-2026-114656 broken or conflicting settings | recordings `tls-mutual-no-ca` and `tls-two-servers-same-host` |
//! | CVE-2026-32305 ClientHello in pieces | `names::a_fragmented_hello_is_no_way_around_a_client_certificate` |
//! | CVE-2022-23632, CVE-2026-48491, CVE-2026-53622 spelling of a name, another host behind it | `names::no_spelling_of_a_name_is_a_way_around_a_client_certificate` |
//! | CVE-2025-66491 inverted check | `http_tls::mutual_tls_wants_a_certificate_of_the_right_authority` |
//!
//! # Crashes, memory, logs
//!
//! | weakness | test |
//! |---|---|
//! | CVE-2024-32475 authority as server name | `names::an_authority_beyond_any_name_is_no_server_name` |
//! | CVE-2024-34363 bytes that are no UTF-8, CVE-2024-45808 log injection | `logs::hostile_values_stay_inside_their_line`, `hostile_upstreams_stay_inside_their_line` |
//! | CVE-2024-23327 LOCAL, CVE-2026-47692 values behind addresses (PROXY) | `proxy_protocol::the_mesh_configuration_requires_a_header`, `portcullis_dataplane::proxy_protocol` |
//! | CVE-2024-23322 timeouts and retries | `http_retries::a_try_that_takes_too_long_is_followed_by_another` |
//! | CVE-2026-22045 handshakes that stall | `postgres::hostile::no_state_can_be_held_open` |

mod backends;
mod corpus;
mod differential;
mod h1_reuse;
mod h2_floods;
mod h2_requests;
mod h2_upstream;
mod logs;
mod names;
mod trusted;

/// The table names tests that exist, so that it cannot outlive them.
#[test]
fn the_table_is_true() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let source = |module: &str| {
        let path = module.replace("::", "/") + ".rs";
        let found = [folder.join("edge").join(&path), folder.join(&path)];
        found.iter().find_map(|path| std::fs::read_to_string(path).ok())
    };
    let mut tests = 0;
    for row in include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((_, cell)) = row.split_once(" | ") else { continue };
        let mut module = "";
        // A name without a path stands in the module of the one before it.
        for name in cell.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            let (path, test) = name.rsplit_once("::").unwrap_or((module, name));
            if path.is_empty() || path.starts_with("portcullis_") || test == "proxy_protocol" {
                continue;
            }
            module = path;
            let source = source(module).unwrap_or_else(|| panic!("no module {module}"));
            assert!(source.contains(&format!("fn {test}(")), "no test {test} in {module}");
            tests += 1;
        }
    }
    assert!(tests > 40, "{tests} tests");
}
