//! HTTP/1 messages from a peer: heads and bodies, in any fragmentation.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, message)) = bytes.split_first() else { return };
    portcullis_dataplane::fuzzing::http1(message, usize::from(step));
});
