//! The chart as Helm packs it: everything in its folder but what `.helmignore` names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Release;
use super::archive::{Archive, gzip};
use crate::workspace::root;

const CHART: &str = "deploy/helm/portcullis";
/// For the tests only; the chart's `.helmignore` names it, too.
const LEFT_OUT: &str = "ci";

/// The archive.
pub(super) fn archive(release: &Release) -> Result<Vec<u8>> {
    let folder = root().join(CHART);
    let ignored = fs::read_to_string(folder.join(".helmignore")).context("reading .helmignore")?;
    ensure!(
        ignored.lines().any(|line| line == format!("{LEFT_OUT}/")),
        ".helmignore does not name {LEFT_OUT}/"
    );
    let mut archive = Archive::new(release.time);
    add(&mut archive, &folder, "portcullis")?;
    gzip(&archive.finish()?)
}

fn add(archive: &mut Archive, folder: &Path, within: &str) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    let entries =
        fs::read_dir(folder).with_context(reading)?.collect::<Result<Vec<_>, _>>().with_context(reading)?;
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    // Helm wants the chart's own description first.
    names.sort_by_key(|name| name != "Chart.yaml");
    for name in names.iter().filter(|name| *name != LEFT_OUT) {
        let (path, inside) = (folder.join(name), format!("{within}/{name}"));
        if path.is_dir() {
            add(archive, &path, &inside)?;
        } else {
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            archive.file(&inside, 0o644, &content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_chart_is_whole_and_its_tests_stay_behind() {
        let release = Release { version: "1.2.3".to_owned(), revision: String::new(), time: 0 };
        let packed = archive(&release).unwrap();
        let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let names: BTreeSet<String> =
            unpacked.entries().unwrap().map(|it| it.unwrap().path().unwrap().display().to_string()).collect();
        for name in [
            "Chart.yaml",
            "values.yaml",
            "values.schema.json",
            "templates/workload.yaml",
            "files/cluster-rules.yaml",
        ] {
            assert!(names.contains(&format!("portcullis/{name}")), "{name}");
        }
        assert!(!names.iter().any(|name| name.starts_with("portcullis/ci")));
    }
}
