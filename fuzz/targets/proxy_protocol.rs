//! A PROXY protocol header, of either version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_dataplane::proxy_protocol::{MAX_LEN, Outcome, parse};

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    if let Outcome::Header(header) = whole {
        assert!(header.len <= received.len(), "takes more than there is");
        for address in header.addresses.iter().flat_map(|ends| [ends.source, ends.destination]) {
            let ip = address.ip();
            assert!(
                ip == ip.to_canonical() && !ip.is_unspecified() && !ip.is_multicast(),
                "{ip} is no host's"
            );
        }
    }
    assert!(whole != Outcome::NeedMore || received.len() < MAX_LEN, "waits beyond its bound");

    // A shorter beginning either waits or has already said the same.
    for end in 0..received.len().min(PREFIXES) {
        let early = parse(&received[..end]);
        assert!(early == Outcome::NeedMore || early == whole, "{early:?}, then {whole:?}");
    }
});

/// How many beginnings are tried: more than the longest header without further values.
const PREFIXES: usize = 128;
