//! The peers: what each is given and asked to do. Their configurations stand in `bench/peers`.

use super::Port;

/// Something a subject can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Carry HTTP/1.1 in clear, as bytes or as requests.
    Clear,
    /// End HTTP connections, with and without TLS.
    Http,
    /// Pass TLS through by server name.
    Pass,
    /// Carry PostgreSQL.
    Postgres,
}

impl Ability {
    /// The ports it takes.
    pub(super) fn ports(self) -> &'static [Port] {
        match self {
            Self::Clear => &[Port::Plain],
            Self::Http => &[Port::Plain, Port::Tls, Port::Rsa],
            Self::Pass => &[Port::Pass],
            Self::Postgres => &[Port::Postgres],
        }
    }
}

/// How a program tells its version.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    /// With these arguments.
    Says(&'static [&'static str]),
    /// It does not, but we know.
    Known(fn() -> String),
}

/// A program and how it is started. `@NAME@` is filled in by `template.rs`.
#[derive(Debug)]
pub(super) struct Peer {
    name: &'static str,
    pub(super) able: &'static [Ability],
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) arguments: &'static [&'static str],
    pub(super) environment: &'static [(&'static str, &'static str)],
    pub(super) version: Version,
}

impl Peer {
    /// The peer of this name, else the gateway.
    pub(super) fn of(name: &str) -> &'static Self {
        PEERS.iter().find(|peer| peer.name == name).unwrap_or(&PORTCULLIS)
    }
}

/// All that a gateway can be asked for.
const EVERYTHING: &[Ability] = &[Ability::Clear, Ability::Http, Ability::Pass, Ability::Postgres];
/// HTTP only.
const WEB: &[Ability] = &[Ability::Clear, Ability::Http];
/// HTTP, and TLS by server name.
const WEB_AND_TLS: &[Ability] = &[Ability::Clear, Ability::Http, Ability::Pass];

const PORTCULLIS: Peer = Peer {
    name: "portcullis",
    able: EVERYTHING,
    // In a folder that is watched, and in which no log is written.
    files: &[("config/config.yaml", include_str!("../../../peers/portcullis/config.yaml"))],
    arguments: &[
        "run",
        "--config",
        "@FOLDER@/config/config.yaml",
        "--workers",
        "1",
        "--drain",
        "0",
        "--port-map",
        "80:@PLAIN@,443:@TLS@,444:@RSA@,8443:@PASS@,5432:@PG@",
        "--admin",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:@ADMIN@",
        "--stats",
        "127.0.0.1:0",
        "--health",
        "127.0.0.1:0",
    ],
    environment: &[],
    version: Version::Says(&["version"]),
};

const PEERS: &[Peer] = &[
    Peer {
        name: "nginx",
        able: WEB_AND_TLS,
        files: &[
            ("nginx.conf", include_str!("../../../peers/nginx/nginx.conf")),
            ("locations.conf", include_str!("../../../peers/nginx/locations.conf")),
        ],
        arguments: &["-c", "@FOLDER@/nginx.conf", "-p", "@FOLDER@", "-e", "@FOLDER@/error.log"],
        environment: &[],
        version: Version::Says(&["-v"]),
    },
    Peer {
        name: "haproxy",
        able: EVERYTHING,
        files: &[("haproxy.cfg", include_str!("../../../peers/haproxy/haproxy.cfg"))],
        arguments: &["-db", "-f", "@FOLDER@/haproxy.cfg"],
        environment: &[],
        version: Version::Says(&["-v"]),
    },
    Peer {
        name: "envoy",
        able: WEB_AND_TLS,
        files: &[("envoy.yaml", include_str!("../../../peers/envoy/envoy.yaml"))],
        arguments: &[
            "-c",
            "@FOLDER@/envoy.yaml",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ],
        environment: &[],
        version: Version::Says(&["--version"]),
    },
    Peer {
        name: "caddy",
        able: WEB,
        files: &[("Caddyfile", include_str!("../../../peers/caddy/Caddyfile"))],
        arguments: &["run", "--config", "@FOLDER@/Caddyfile", "--adapter", "caddyfile"],
        environment: &[("GOMAXPROCS", "1"), ("HOME", "@FOLDER@"), ("XDG_DATA_HOME", "@FOLDER@")],
        version: Version::Says(&["version"]),
    },
    Peer {
        name: "traefik",
        able: WEB_AND_TLS,
        files: &[
            ("traefik.yaml", include_str!("../../../peers/traefik/traefik.yaml")),
            ("dynamic.yaml", include_str!("../../../peers/traefik/dynamic.yaml")),
        ],
        arguments: &["--configFile=@FOLDER@/traefik.yaml"],
        environment: &[("GOMAXPROCS", "1"), ("HOME", "@FOLDER@")],
        version: Version::Says(&["version"]),
    },
    Peer {
        name: "pingora",
        able: WEB,
        files: &[],
        arguments: &[
            "backend=@BACKEND@",
            "grpc=@GRPC@",
            "plain=127.0.0.1:@PLAIN@",
            "tls=127.0.0.1:@TLS@",
            "tls-cert=@FOLDER@/ecdsa.crt",
            "tls-key=@FOLDER@/ecdsa.key",
            "rsa=127.0.0.1:@RSA@",
            "rsa-cert=@FOLDER@/rsa.crt",
            "rsa-key=@FOLDER@/rsa.key",
            "metrics=127.0.0.1:@ADMIN@",
            "log=@FOLDER@/access.log",
        ],
        environment: &[],
        version: Version::Known(pingora),
    },
    Peer {
        name: "forwarder",
        able: &[Ability::Clear, Ability::Pass, Ability::Postgres],
        files: &[],
        arguments: &["127.0.0.1:@PLAIN@=@BACKEND@", "127.0.0.1:@PASS@=@OPAQUE@", "127.0.0.1:@PG@=@POSTGRES@"],
        environment: &[],
        version: Version::Known(|| env!("CARGO_PKG_VERSION").to_owned()),
    },
];

/// The version that the lock file of its program has.
fn pingora() -> String {
    let lock = include_str!("../../../peers/pingora/Cargo.lock");
    let entry = lock.split_once("name = \"pingora\"\nversion = \"");
    entry.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pingora_s_version_is_found() {
        assert!(pingora().starts_with("0."), "{}", pingora());
    }
}
