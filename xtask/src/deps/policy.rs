//! The tables of the dependency policy.

/// What a dependency must be.
pub(super) struct Policy {
    /// SPDX identifiers that may be shipped.
    pub(super) licences: &'static [&'static str],
    /// Crates that must not be in the graph, and why.
    pub(super) banned: &'static [(&'static str, &'static str)],
    /// The oldest version of a crate without a known weakness that we would feel, and that weakness.
    pub(super) minimums: &'static [(&'static str, &'static str, &'static str)],
    /// Crates that may stand in the graph in several versions, and why.
    pub(super) doubles: &'static [(&'static str, &'static str)],
}

/// The policy of this workspace.
pub(super) const POLICY: Policy =
    Policy { licences: LICENCES, banned: BANNED, minimums: MINIMUMS, doubles: DOUBLES };

/// All permissive; none asks anything of who ships the binary but a notice.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "OpenSSL",
    "Unicode-3.0",
    "Zlib",
];

const BANNED: &[(&str, &str)] = &[
    ("async-std", "a second async runtime beside tokio"),
    ("boring", ONE_TLS_STACK),
    ("boring-sys", ONE_TLS_STACK),
    ("hyper-tls", ONE_TLS_STACK),
    ("native-tls", ONE_TLS_STACK),
    ("openssl", ONE_TLS_STACK),
    ("openssl-sys", ONE_TLS_STACK),
    ("ring", "a second cryptography library beside aws-lc-rs"),
];

const ONE_TLS_STACK: &str = "a second TLS stack beside rustls";

const MINIMUMS: &[(&str, &str, &str)] = &[
    ("bytes", "1.11.1", "CVE-2026-25541"),
    ("h2", "0.4.16", "RUSTSEC-2026-0258, a flood of empty DATA frames"),
    ("hickory-net", "0.26.1", "RUSTSEC-2026-0118, an unbounded loop in DNSSEC validation"),
    ("hickory-proto", "0.26.1", "RUSTSEC-2026-0119, quadratic work in name compression"),
    ("idna", "1.0.0", "CVE-2024-12224"),
    ("protobuf", "3.7.2", "CVE-2025-53605"),
    ("quinn-proto", "0.11.15", "CVE-2026-31812 and CVE-2026-25800"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0399, a panic in the acceptor on a fragmented hello"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0049, -0098, -0099 and -0104"),
    ("tonic", "0.12.3", "CVE-2024-47609"),
];

const DOUBLES: &[(&str, &str)] = &[
    ("base64", "rcgen, which makes the certificates of tests and demo, is a version ahead of the rest"),
    (
        "const-oid",
        "tests only: tokio-postgres and what gives it rustls stand on two generations of RustCrypto",
    ),
    ("getrandom", "kube-runtime hashes with ahash, which is a version behind the rest"),
    ("hashbrown", "kube-runtime is a version behind the rest"),
    ("syn", "at build time only: the derives below x509-parser are a version behind the rest"),
    ("synstructure", "at build time only: as with syn"),
];
