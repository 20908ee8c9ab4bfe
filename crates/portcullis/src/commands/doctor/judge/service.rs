//! The Service and its pods: is there one, does it have an address, and who else wants its ports.

use portcullis_api::{ObjectRef, Severity};
use portcullis_control::Notice;

use super::super::facts::{Facts, Pod, Service};
use super::{finding, own_pods, own_service};

/// K3s' ServiceLB marks its pods with the Service they are for.
const SERVICE_OF: &str = "svccontroller.k3s.cattle.io/svcname";
const SERVICE_NAMESPACE_OF: &str = "svccontroller.k3s.cattle.io/svcnamespace";
/// Once a node has this label, ServiceLB uses only nodes that have it.
const ENABLED: &str = "svccontroller.k3s.cattle.io/enablelb";
/// Nodes and Services of one pool belong together.
const POOL: &str = "svccontroller.k3s.cattle.io/lbpool";
/// Objects named in one message at most.
const SHOWN: usize = 5;

pub(super) fn judge(facts: &Facts, found: &mut Vec<Notice>) {
    pods(facts, found);
    let Some(service) = own_service(facts) else {
        missing(facts, found);
        return;
    };
    let holders = holders(facts, service);
    for holder in &holders {
        found.push(taken(service, holder));
    }
    if service.is_pending() {
        found.push(pending(facts, service, !holders.is_empty()));
    }
    node_ports(facts, service, found);
}

fn missing(facts: &Facts, found: &mut Vec<Notice>) {
    if facts.services.list().is_empty() {
        return;
    }
    let without = own_pods(facts).any(|pod| pod.spec.host_network || pod.host_ports().next().is_some());
    let severity = if without { Severity::Info } else { Severity::Error };
    let object =
        ObjectRef { kind: "Service".into(), namespace: facts.namespace.clone(), name: facts.name.clone() };
    let remedy = "install the chart, or say where the gateway is with --namespace and --name";
    found.push(finding(severity, "ServiceMissing", object, "there is no such Service", remedy));
}

fn pods(facts: &Facts, found: &mut Vec<Notice>) {
    if facts.pods.list().is_empty() {
        return;
    }
    let (ready, waiting): (Vec<&Pod>, Vec<&Pod>) = own_pods(facts).partition(|pod| pod.is_ready());
    if ready.is_empty() && waiting.is_empty() {
        let object = ObjectRef {
            kind: "Service".into(),
            namespace: facts.namespace.clone(),
            name: facts.name.clone(),
        };
        let remedy =
            "install the gateway, or scale it up; its pods need the labels of the Service's selector";
        found.push(finding(Severity::Error, "PodsMissing", object, "no pod of the gateway runs", remedy));
    }
    for pod in waiting.iter().take(SHOWN) {
        let severity = if ready.is_empty() { Severity::Error } else { Severity::Warning };
        let message =
            pod.obstacle().unwrap_or_else(|| "it runs and does not say that it is ready".to_owned());
        let image = message.contains("ImagePull") || message.contains("ErrImage");
        let remedy = match image {
            true => "import the image on every node (k3s ctr images import), or name a registry that has it",
            false => "kubectl describe and kubectl logs say more",
        };
        found.push(finding(severity, "PodNotReady", pod.metadata.reference("Pod"), message, remedy));
    }
}

/// Who has, or wants, a port of the nodes that the gateway needs.
struct Holder {
    object: ObjectRef,
    ports: Vec<u16>,
    /// Whether it goes without an address itself: then it is the one that waits.
    waits: bool,
}

/// The ports that the gateway needs on the nodes.
fn wanted(facts: &Facts, service: &Service) -> Vec<u16> {
    let by_service = service.is_load_balancer() && service.spec.load_balancer_class.is_none();
    let of_service =
        service.spec.ports.iter().map(|port| port.port).filter(|_| by_service && has_servicelb(facts));
    let mut ports: Vec<u16> = of_service.chain(own_pods(facts).flat_map(Pod::host_ports)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn holders(facts: &Facts, service: &Service) -> Vec<Holder> {
    let wanted = wanted(facts, service);
    let shared = |ports: &mut dyn Iterator<Item = u16>| -> Vec<u16> {
        ports.filter(|port| wanted.contains(port)).collect()
    };
    let services = facts.services.list().iter().filter(|other| {
        has_servicelb(facts)
            && other.is_load_balancer()
            && other.spec.load_balancer_class.is_none()
            && other.metadata.labels.get(POOL) == service.metadata.labels.get(POOL)
            && (&other.metadata.namespace, &other.metadata.name) != (&facts.namespace, &facts.name)
    });
    let services = services.map(|other| Holder {
        object: other.metadata.reference("Service"),
        ports: shared(&mut other.spec.ports.iter().map(|port| port.port)),
        waits: other.is_pending(),
    });
    let own: Vec<&str> = own_pods(facts).map(|pod| pod.metadata.name.as_str()).collect();
    let pods = facts.pods.list().iter().filter(|pod| {
        let ours = pod.metadata.namespace == facts.namespace && own.contains(&pod.metadata.name.as_str());
        !ours && !pod.is_over() && !pod.metadata.labels.contains_key(SERVICE_OF)
    });
    let pods = pods.map(|pod| Holder {
        object: pod.metadata.reference("Pod"),
        ports: shared(&mut pod.host_ports()),
        waits: pod.status.phase == "Pending",
    });
    services.chain(pods).filter(|holder| !holder.ports.is_empty()).take(MAX_HOLDERS).collect()
}

/// A DaemonSet with a hostPort has a pod on every node; the first ones say enough.
const MAX_HOLDERS: usize = 20;

fn taken(service: &Service, holder: &Holder) -> Notice {
    let ports = holder.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let severity = if service.is_pending() && !holder.waits { Severity::Error } else { Severity::Warning };
    let message = match holder.waits {
        true => format!("it waits for ports of the nodes that the gateway has: {ports}"),
        false => format!("it holds ports of the nodes that the gateway needs: {ports}"),
    };
    let traefik = holder.object.name.starts_with("traefik");
    let remedy = match traefik {
        true => {
            "put `disable: [traefik]` into /etc/rancher/k3s/config.yaml on every server and restart K3s; \
             docs/from-traefik.md has the steps"
        }
        false => "one of the two must give them up: another port, type ClusterIP, or nodes of its own",
    };
    finding(severity, "PortTaken", holder.object.clone(), message, remedy)
}

/// Why there is no address, as far as it can be told.
fn pending(facts: &Facts, service: &Service, port_taken: bool) -> Notice {
    let object = service.metadata.reference("Service");
    let (message, remedy) = reason(facts, service, port_taken);
    finding(Severity::Error, "ServicePending", object, format!("it has no address: {message}"), remedy)
}

fn reason(facts: &Facts, service: &Service, port_taken: bool) -> (String, &'static str) {
    if let Some(class) = &service.spec.load_balancer_class {
        let remedy = "see whether the controller of that class runs";
        return (format!("the load balancers of class {class} have given it none"), remedy);
    }
    if !has_servicelb(facts) && !facts.pods.list().is_empty() {
        let remedy = "K3s needs ServiceLB (no --disable=servicelb), other clusters a controller such as MetalLB; \
                      or use hostPorts of the chart";
        return ("nothing here serves Services of type LoadBalancer".to_owned(), remedy);
    }
    if port_taken {
        return ("its ports are taken".to_owned(), "see PortTaken");
    }
    if let Some(reason) = excluded(facts, service) {
        return (reason, "label the nodes, or take the labels away: docs/k3s.md");
    }
    let balancers = facts.pods.list().iter().filter(|pod| is_balancer_of(pod, service));
    if let Some(obstacle) = balancers.filter_map(Pod::obstacle).next() {
        return (
            format!("ServiceLB's pods do not run: {obstacle}"),
            "kubectl -n kube-system describe those pods",
        );
    }
    if service.spec.external_traffic_policy == "Local" && !own_pods(facts).any(Pod::is_ready) {
        let remedy =
            "with externalTrafficPolicy Local only nodes with a ready pod count: see why there is none";
        return ("no node has a ready pod of the gateway".to_owned(), remedy);
    }
    ("nobody says why".to_owned(), "kubectl describe shows the events of the Service")
}

/// Whether the labels of nodes keep ServiceLB from all of them.
fn excluded(facts: &Facts, service: &Service) -> Option<String> {
    let nodes = facts.nodes.list();
    let label = |key: &'static str| {
        nodes.iter().filter_map(move |node| node.metadata.labels.get(key).map(|value| (node, value)))
    };
    let narrowed = label(ENABLED).next().is_some();
    let enabled = |key: &str| key == "true";
    if narrowed && !label(ENABLED).any(|(_, value)| enabled(value)) {
        return Some(format!("nodes have the label {ENABLED}, and none with the value true"));
    }
    let pool = service.metadata.labels.get(POOL)?;
    let within = label(POOL).any(|(node, value)| {
        value == pool && node.metadata.labels.get(ENABLED).is_some_and(|value| enabled(value))
    });
    (!within).then(|| format!("no node of the pool {pool} has the label {ENABLED}: true"))
}

/// ServiceLB reaches the gateway of a node through the Service's node port when the policy is Local.
fn node_ports(facts: &Facts, service: &Service, found: &mut Vec<Notice>) {
    let spec = &service.spec;
    let none =
        spec.allocate_load_balancer_node_ports == Some(false) && spec.external_traffic_policy == "Local";
    if none && service.is_load_balancer() && spec.load_balancer_class.is_none() && has_servicelb(facts) {
        let message = "it has no node ports, and ServiceLB needs them where externalTrafficPolicy is Local";
        let remedy = "let allocateLoadBalancerNodePorts be true";
        let object = service.metadata.reference("Service");
        found.push(finding(Severity::Error, "NodePortsMissing", object, message, remedy));
    }
}

/// Whether K3s' ServiceLB is at work.
fn has_servicelb(facts: &Facts) -> bool {
    facts.pods.list().iter().any(|pod| pod.metadata.labels.contains_key(SERVICE_OF))
}

fn is_balancer_of(pod: &Pod, service: &Service) -> bool {
    let labels = &pod.metadata.labels;
    let in_namespace = labels.get(SERVICE_NAMESPACE_OF).is_none_or(|it| *it == service.metadata.namespace);
    labels.get(SERVICE_OF) == Some(&service.metadata.name) && in_namespace
}
