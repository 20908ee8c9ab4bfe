//! The image: an OCI archive (image-spec 1.1) of one layer, which `k3s ctr images import`, K3s' image folder, `podman load`
//! and registries take. In it are the program, the authorities it trusts, and the name of the user it runs as.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use anyhow::Result;
use serde_json::{Value, json};

use super::archive::{Archive, gzip, hex, sha256};
use super::{Release, authorities};

/// Where the image would be pulled from: the chart's default.
const REPOSITORY: &str = "ghcr.io/portcullis-gateway/portcullis";
/// Nobody, by the number that the chart names.
const USER: u32 = 65532;
const SOURCE: &str = "https://github.com/portcullis-gateway/portcullis";

/// The architecture as images name it.
pub(super) fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The archive of an image with this program.
pub(super) fn archive(release: &Release, binary: &[u8]) -> Result<Vec<u8>> {
    let layer = layer(release, binary)?;
    let packed = gzip(&layer)?;
    let mut blobs = BTreeMap::new();
    let mut add = |kind: &str, bytes: Vec<u8>| {
        let digest = hex(&sha256(&bytes));
        let descriptor =
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()});
        blobs.insert(digest, bytes);
        descriptor
    };
    let layer_descriptor = add("application/vnd.oci.image.layer.v1.tar+gzip", packed);
    let config = config(release, &format!("sha256:{}", hex(&sha256(&layer))))?;
    let config_descriptor = add("application/vnd.oci.image.config.v1+json", serde_json::to_vec(&config)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_descriptor,
        "layers": [layer_descriptor],
        "annotations": labels(release)?,
    });
    let mut named = add(MANIFEST, serde_json::to_vec(&manifest)?);
    named["platform"] = json!({"architecture": architecture(), "os": "linux"});
    named["annotations"] = json!({
        // Under these names containerd and podman know it.
        "io.containerd.image.name": format!("{REPOSITORY}:{}", release.version),
        "org.opencontainers.image.ref.name": format!("{REPOSITORY}:{}", release.version),
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]});
    pack(release, &blobs, &serde_json::to_vec(&index)?)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The image layout: blobs by digest, and the index that names them.
fn pack(release: &Release, blobs: &BTreeMap<String, Vec<u8>>, index: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::new(release.time);
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.file("index.json", 0o644, index)?;
    archive.folder("blobs/")?;
    archive.folder("blobs/sha256/")?;
    for (digest, bytes) in blobs {
        archive.file(&format!("blobs/sha256/{digest}"), 0o644, bytes)?;
    }
    archive.finish()
}

/// The file system.
fn layer(release: &Release, binary: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Archive::new(release.time);
    layer.folder("etc/")?;
    layer.file("etc/group", 0o644, format!("root:x:0:\nportcullis:x:{USER}:\n").as_bytes())?;
    let user = format!("root:x:0:0:root:/:/nologin\nportcullis:x:{USER}:{USER}:portcullis:/:/nologin\n");
    layer.file("etc/passwd", 0o644, user.as_bytes())?;
    layer.folder("etc/ssl/")?;
    layer.folder("etc/ssl/certs/")?;
    layer.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities::pem().as_bytes())?;
    layer.file("portcullis", 0o755, binary)?;
    layer.finish()
}

fn config(release: &Release, layer: &str) -> Result<Value> {
    let created = release.created()?;
    let ports = ["8080/tcp", "8443/tcp", "5432/tcp", "15020/tcp", "15021/tcp", "15090/tcp"];
    let ports: BTreeMap<&str, Value> = ports.into_iter().map(|port| (port, json!({}))).collect();
    Ok(json!({
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/portcullis"],
            "Cmd": ["run", "--kubernetes"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "ExposedPorts": ports,
            "Labels": labels(release)?,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
    }))
}

fn labels(release: &Release) -> Result<Value> {
    let mut labels = json!({
        "org.opencontainers.image.title": "Portcullis",
        "org.opencontainers.image.description": "An ingress gateway that serves the Istio resources you already have",
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.created": release.created()?,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": SOURCE,
        "org.opencontainers.image.url": SOURCE,
        "org.opencontainers.image.vendor": "Portcullis",
    });
    if !release.revision.is_empty() {
        labels["org.opencontainers.image.revision"] = json!(release.revision);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn release() -> Release {
        Release { version: "1.2.3".to_owned(), revision: "abc".to_owned(), time: 1_700_000_000 }
    }

    /// The entries of an archive: content and mode by path.
    fn entries(bytes: &[u8]) -> BTreeMap<String, (Vec<u8>, u32)> {
        let mut archive = tar::Archive::new(bytes);
        let read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 1_700_000_000));
            (entry.path().unwrap().display().to_string(), (content, header.mode().unwrap()))
        });
        read.collect()
    }

    /// What a descriptor names, which must be what it says.
    fn blob(entries: &BTreeMap<String, (Vec<u8>, u32)>, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let (bytes, _) = &entries[&format!("blobs/sha256/{digest}")];
        assert_eq!(hex(&sha256(bytes)), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn every_digest_leads_to_what_it_names() {
        let image = entries(&archive(&release(), b"program").unwrap());
        assert_eq!(json(&image["oci-layout"].0)["imageLayoutVersion"], "1.0.0");
        let index = json(&image["index.json"].0);
        let named = &index["manifests"][0];
        assert_eq!(named["annotations"]["io.containerd.image.name"], format!("{REPOSITORY}:1.2.3"));
        let manifest = json(&blob(&image, named));
        let config = json(&blob(&image, &manifest["config"]));
        let packed = blob(&image, &manifest["layers"][0]);
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", hex(&sha256(&layer)))]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "abc");
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let files = entries(&layer);
        assert_eq!(files["portcullis"], (b"program".to_vec(), 0o755));
        assert!(files["etc/ssl/certs/ca-certificates.crt"].0.len() > 100_000);
        assert!(files.keys().all(|path| !path.starts_with('/') && !path.contains("..")));
    }

    #[test]
    fn the_same_program_makes_the_same_image() {
        let make = || archive(&release(), b"program").unwrap();
        assert_eq!(make(), make());
    }

    #[test]
    fn the_chart_names_this_image_and_this_user() {
        let chart = crate::workspace::root().join("deploy/helm/portcullis");
        let values = std::fs::read_to_string(chart.join("values.yaml")).unwrap();
        assert!(values.contains(&format!("repository: {REPOSITORY}\n")));
        let workload = std::fs::read_to_string(chart.join("templates/workload.yaml")).unwrap();
        assert!(workload.contains(&format!("\"runAsUser\" {USER}")));
    }
}
