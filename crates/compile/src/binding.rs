//! Which VirtualServices reach which Gateways, and in which order (routing reference §2.1).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::{Kind, VirtualService};

use crate::delegate::{self, Rule};
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::names::{HostSet, ServerHost, Visibility, gateway_reference, qualified, visibility};
use crate::objects::{Key, Objects};
use crate::settings;

/// A VirtualService that can serve requests at this gateway.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    /// As it arrived.
    pub(crate) resource: &'a VirtualService,
    /// Its hosts, short names completed.
    pub(crate) hosts: Vec<Cow<'a, str>>,
    /// Its http rules, delegates put in place.
    pub(crate) rules: Vec<Rule<'a>>,
    /// `VirtualService default/app`.
    pub(crate) name: Arc<str>,
    visibility: Visibility,
}

impl<'a> Bound<'a> {
    /// For diagnostics.
    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject::new(Kind::VirtualService, self.resource)
    }

    /// Its namespace.
    pub(crate) fn namespace(&self) -> &'a str {
        &self.resource.meta.namespace
    }
}

/// The VirtualServices of every Gateway.
#[derive(Debug, Default)]
pub(crate) struct Bindings<'a> {
    all: Vec<Bound<'a>>,
    /// Positions in `all`, in the order Istio evaluates them.
    by_gateway: BTreeMap<Key, Vec<usize>>,
    /// The hosts of every server of a Gateway that a VirtualService names.
    hosts: BTreeMap<Key, HostSet>,
}

impl<'a> Bindings<'a> {
    /// Binds every VirtualService.
    pub(crate) fn new(
        objects: &'a Objects,
        environment: &Environment,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let default: &[String] =
            settings::mesh(objects).map_or(&[], |mesh| &mesh.spec.default_virtual_service_export_to);
        let mut bindings = Self::default();
        for resource in objects.virtual_services.values() {
            bindings.add(resource, objects, environment, default, diagnostics);
        }
        for positions in bindings.by_gateway.values_mut() {
            // Those private to the gateway's namespace, those that name it, then the public ones; the
            // older first in each group.
            positions.sort_by(|&left, &right| {
                let (left, right) = (&bindings.all[left], &bindings.all[right]);
                let group = left.visibility.cmp(&right.visibility);
                group.then_with(|| left.resource.meta.by_age(&right.resource.meta))
            });
        }
        bindings
    }

    /// The VirtualServices of a Gateway, with their positions among all, in order.
    pub(crate) fn of_gateway(&self, gateway: &Key) -> impl Iterator<Item = (usize, &Bound<'a>)> {
        let positions = self.by_gateway.get(gateway).map_or(&[][..], Vec::as_slice);
        positions.iter().map(|&position| (position, &self.all[position]))
    }

    /// All of them, sorted by namespace and name.
    pub(crate) fn all(&self) -> &[Bound<'a>] {
        &self.all
    }

    /// Positions of the VirtualServices of every Gateway, in order.
    pub(crate) fn by_gateway(&self) -> &BTreeMap<Key, Vec<usize>> {
        &self.by_gateway
    }

    /// The one at a position given by [`of_gateway`](Self::of_gateway).
    pub(crate) fn at(&self, position: usize) -> Option<&Bound<'a>> {
        self.all.get(position)
    }

    /// Reports the hosts that no server of any of the Gateways holds.
    fn report_hosts(
        &mut self,
        bound: &Bound<'_>,
        gateways: &[Key],
        objects: &Objects,
        diagnostics: &mut Diagnostics,
    ) {
        for (index, host) in bound.hosts.iter().enumerate() {
            let held = gateways.iter().any(|key| {
                let hosts = self.hosts.entry(key.clone()).or_insert_with(|| hosts_of(key, objects));
                !hosts.intersection(std::slice::from_ref(host), bound.namespace()).is_empty()
            });
            if !held {
                diagnostics.report(
                    Code::HostNotFoundInGateway,
                    bound.subject(),
                    format!("spec.hosts[{index}]"),
                    format!("no server of its Gateways has host {host:?} for this namespace"),
                    "add the host to a server of the Gateway",
                );
            }
        }
    }

    fn add(
        &mut self,
        resource: &'a VirtualService,
        objects: &'a Objects,
        environment: &Environment,
        default: &[String],
        diagnostics: &mut Diagnostics,
    ) {
        if resource.spec.hosts.is_empty() {
            delegate::check(resource, diagnostics);
            return;
        }
        let subject = Subject::new(Kind::VirtualService, resource);
        let gateways = gateways_of(resource, objects, diagnostics);
        if gateways.is_empty() {
            return;
        }
        let (own, viewer) = (&resource.meta.namespace, &environment.workload.namespace);
        let Some(visibility) = visibility(&resource.spec.export_to, default, own, viewer) else {
            let message =
                format!("is not exported to namespace {viewer}, where the gateway runs, so it is not used");
            let remedy = format!("add {viewer:?} or \"*\" to exportTo");
            diagnostics.report(Code::NeverApplies, subject, "spec.exportTo", message, remedy);
            return;
        };
        let spec_hosts = resource.spec.hosts.iter();
        let bound = Bound {
            resource,
            hosts: spec_hosts.map(|host| qualified(host, own, &environment.cluster_domain)).collect(),
            rules: delegate::rules(resource, objects, default, diagnostics),
            name: format!("VirtualService {own}/{}", resource.meta.name).into(),
            visibility,
        };
        self.report_hosts(&bound, &gateways, objects, diagnostics);
        let position = self.all.len();
        self.all.push(bound);
        for gateway in gateways {
            self.by_gateway.entry(gateway).or_default().push(position);
        }
    }
}

/// The Gateways a VirtualService names, each once; unknown ones are reported and left out.
fn gateways_of(resource: &VirtualService, objects: &Objects, diagnostics: &mut Diagnostics) -> Vec<Key> {
    let subject = Subject::new(Kind::VirtualService, resource);
    if resource.spec.gateways.is_empty() {
        diagnostics.report(
            Code::NotBoundToGateway,
            subject,
            "spec.gateways",
            "is missing, which means the mesh alone: no gateway serves this",
            "name the Gateway, as name or namespace/name, if it should be reached from outside",
        );
    }
    let mut gateways = Vec::new();
    for (index, reference) in resource.spec.gateways.iter().enumerate() {
        let Some(key) = gateway_reference(reference, &resource.meta.namespace) else { continue };
        if objects.gateways.contains_key(&key) {
            if !gateways.contains(&key) {
                gateways.push(key);
            }
            continue;
        }
        let elsewhere = objects.gateways.keys().find(|(_, name)| *name == key.1);
        let remedy = match elsewhere {
            Some((namespace, name)) => format!("did you mean {namespace}/{name}?"),
            None => "name a Gateway that exists, as name or namespace/name".to_owned(),
        };
        let message = format!("Gateway {}/{} does not exist", key.0, key.1);
        let field = format!("spec.gateways[{index}]");
        diagnostics.report(Code::ReferencedResourceNotFound, subject, field, message, remedy);
    }
    gateways
}

/// The hosts of every server of a Gateway.
fn hosts_of(gateway: &Key, objects: &Objects) -> HostSet {
    let gateway = objects.gateways.get(gateway).into_iter();
    let hosts = gateway.flat_map(|gateway| {
        let namespace = &gateway.meta.namespace;
        gateway.spec.servers.iter().flat_map(|server| ServerHost::all(&server.hosts, namespace))
    });
    HostSet::new(hosts.collect())
}
