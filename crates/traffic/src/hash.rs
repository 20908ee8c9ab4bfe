//! Hash keys of requests, as Envoy makes them: xxHash64 with seed 0.

use std::net::IpAddr;

use xxhash_rust::xxh64::xxh64;

/// The key of a header, cookie or query value.
#[must_use]
pub fn of_value(value: &[u8]) -> u64 {
    xxh64(value, 0)
}

/// The key of the trusted client address: of its text, without the port.
#[must_use]
pub fn of_address(address: IpAddr) -> u64 {
    of_value(address.to_string().as_bytes())
}

/// The key of several values of one header, whatever their order.
#[must_use]
pub fn of_values(values: &mut [&[u8]]) -> u64 {
    values.sort_unstable();
    values.iter().fold(0, |seed, value| xxh64(value, seed))
}

/// The key of two or more policies that have a value: what was found before, turned by a bit, and the next.
#[must_use]
pub fn combined(before: Option<u64>, key: u64) -> u64 {
    before.map_or(key, |before| before.rotate_left(1) ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys() {
        assert_eq!(of_value(b""), 0xef46_db37_51d8_e999);
        assert_eq!(of_value(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(of_address(IpAddr::from([127, 0, 0, 1])), of_value(b"127.0.0.1"));
        assert_eq!(of_values(&mut [b"a"]), of_value(b"a"));
        assert_eq!(of_values(&mut [b"b", b"a"]), xxh64(b"b", of_value(b"a")));
        assert_eq!(of_values(&mut [b"a", b"b"]), of_values(&mut [b"b", b"a"]));
        assert_eq!(combined(None, 5), 5);
        assert_eq!(combined(Some(1 << 63), 5), 1 ^ 5);
    }
}
