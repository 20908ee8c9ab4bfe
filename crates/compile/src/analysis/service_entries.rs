//! ServiceEntries that call one port of one host by different protocols
//! (`serviceentry/conflictingserviceentries.go`).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_api::{Kind, ServiceEntry};

use super::{exported_to, meet};
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::objects::Objects;

pub(super) fn report(objects: &Objects, diagnostics: &mut Diagnostics) {
    let mut holders: BTreeMap<(&str, u32), Vec<(&ServiceEntry, usize)>> = BTreeMap::new();
    for entry in objects.service_entries.values() {
        for host in &entry.spec.hosts {
            for (index, port) in entry.spec.ports.iter().enumerate() {
                holders.entry((host, port.number)).or_default().push((entry, index));
            }
        }
    }
    let mut told: BTreeSet<*const ServiceEntry> = BTreeSet::new();
    for ((host, number), entries) in &holders {
        for (entry, index) in entries {
            let own = protocol(entry, *index);
            let seen_by = exported_to(&entry.spec.export_to, &entry.meta.namespace);
            let differs = |other: &&(&ServiceEntry, usize)| {
                protocol(other.0, other.1) != own
                    && meet(&seen_by, &exported_to(&other.0.spec.export_to, &other.0.meta.namespace))
            };
            let Some((other, at)) = entries.iter().find(differs) else { continue };
            if !told.insert(std::ptr::from_ref(*entry)) {
                continue;
            }
            let message = format!(
                "port {number} of {host} is {own} here and {} in ServiceEntry {}/{}",
                protocol(other, *at),
                other.meta.namespace,
                other.meta.name
            );
            diagnostics.report(
                Code::ConflictingServiceEntryProtocol,
                Subject::new(Kind::ServiceEntry, *entry),
                format!("spec.ports[{index}].protocol"),
                message,
                "agree on one protocol",
            );
        }
    }
}

fn protocol(entry: &ServiceEntry, port: usize) -> String {
    let written = entry.spec.ports.get(port).and_then(|port| port.protocol.as_deref()).unwrap_or_default();
    if written.is_empty() { "no protocol".to_owned() } else { written.to_ascii_uppercase() }
}
