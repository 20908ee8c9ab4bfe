//! The first packet of a PostgreSQL client, and a server's answer to SSLRequest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_dataplane::postgres::messages::ssl_answer;
use portcullis_dataplane::postgres::preface::{MAX_STARTUP_LEN, Outcome, parse};

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    assert!(whole.len() <= received.len(), "takes more than there is");
    assert!(whole != Outcome::NeedMore || received.len() < MAX_STARTUP_LEN, "waits beyond its bound");
    if let Outcome::Cancel(cancel) = &whole {
        let _: u32 = cancel.process_id();
    }

    // A shorter beginning either waits or has already said the same.
    for end in 0..received.len().min(PREFIXES) {
        let early = parse(&received[..end]);
        assert!(early == Outcome::NeedMore || early == whole, "{early:?}, then {whole:?}");
    }
    let _ = ssl_answer(received);
});

/// How many beginnings are tried: more than the longest header.
const PREFIXES: usize = 64;
