//! A K3s node with one gateway pod, as its packets see it.
//!
//! ```text
//!   client 198.51.100.7 ── 198.51.100.1 node 10.42.0.1 ──┬── 10.42.0.10 the test's own namespace: the gateway pod
//!                                                        └── 10.42.0.5  the ServiceLB pod
//! ```
//!
//! Each pod has a line of its own to the node, so that every packet between pods passes the node's rules, as with a bridge
//! whose packets are looked at (`bridge-nf-call-iptables`).

use std::fmt::Write as _;
use std::process::Command;

use portcullis_tests::netns::{self, Namespace};

/// The client's own address.
pub(crate) const CLIENT: &str = "198.51.100.7";
/// Where clients find the node.
pub(crate) const NODE: &str = "198.51.100.1";
/// The node, as pods see it.
pub(crate) const BRIDGE: &str = "10.42.0.1";
/// The pod that ServiceLB makes for the Service.
pub(crate) const SERVICELB: &str = "10.42.0.5";
const GATEWAY: &str = "10.42.0.10";
const CLUSTER_IP: &str = "10.43.0.20";
const PODS: &str = "10.42.0.0/16";
/// The node port of a Service port is so much above it.
const NODE_PORTS: u16 = 24_000;

/// `externalTrafficPolicy` of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Cluster,
    Local,
}

/// How a packet for the node gets to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The Service's status lists the address: kube-proxy takes it.
    Listed,
    /// The status does not list it: the ServiceLB pod's host port takes it.
    ServiceLb,
    /// The gateway pod itself has the host port.
    HostPort,
    /// The gateway is in the node's own network.
    HostNetwork,
}

/// The namespaces of the client, the node and the ServiceLB pod. The network goes with them.
pub(crate) struct Node {
    pub(crate) client: Namespace,
    _others: Vec<Namespace>,
}

impl Node {
    /// Builds everything for a Service with these ports and their target ports.
    pub(crate) fn new(policy: Policy, way: Way, ports: &[(u16, u16)]) -> Self {
        match way {
            Way::HostNetwork => Self::around_the_gateway(ports),
            _ => Self::beside_the_gateway(policy, way, ports),
        }
    }

    /// The test's own namespace is the node. The gateway would have the Service's ports themselves there; here it has others,
    /// which the last rule of all makes up for.
    fn around_the_gateway(ports: &[(u16, u16)]) -> Self {
        let client = Namespace::new();
        netns::shell(&format!(
            "ip link add eth0 type veth peer name lan netns {client}
             ip address add {NODE}/24 dev eth0
             ip link set eth0 up",
            client = client.id(),
        ));
        client.shell(&format!("ip address add {CLIENT}/24 dev lan\nip link set lan up"));
        for (port, target) in ports {
            netns::shell(&format!(
                "iptables -t nat -A PREROUTING -p tcp --dport {port} -j REDIRECT --to-ports {target}"
            ));
        }
        Self { client, _others: Vec::new() }
    }

    fn beside_the_gateway(policy: Policy, way: Way, ports: &[(u16, u16)]) -> Self {
        let (client, node, servicelb) = (Namespace::new(), Namespace::new(), Namespace::new());
        netns::shell(&format!(
            "ip link add eth0 type veth peer name lan netns {client}
             ip link set eth0 netns {node} name wan
             ip link add eth0 type veth peer name gateway netns {node}
             ip address add {GATEWAY}/32 dev eth0
             ip link set eth0 up
             ip link add pod type veth peer name servicelb netns {node}
             ip link set pod netns {servicelb} name eth0",
            client = client.id(),
            node = node.id(),
            servicelb = servicelb.id(),
        ));
        client.shell(&format!(
            "ip address add {CLIENT}/24 dev lan
             ip link set lan up
             ip route add default via {NODE}"
        ));
        node.shell(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward
             ip address add {NODE}/24 dev wan
             ip link set wan up
             for pod in gateway:{GATEWAY} servicelb:{SERVICELB}; do
                 ip address add {BRIDGE}/32 dev ${{pod%%:*}}
                 ip link set ${{pod%%:*}} up
                 ip route add ${{pod#*:}}/32 dev ${{pod%%:*}}
             done"
        ));
        let way_out = format!("ip route add {BRIDGE}/32 dev eth0\nip route add default via {BRIDGE}");
        netns::shell(&way_out);
        servicelb.shell(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward
             ip address add {SERVICELB}/32 dev eth0
             ip link set eth0 up
             {way_out}"
        ));
        node.shell(&kube_proxy(policy, way, ports));
        node.shell(&portmap(way, ports));
        servicelb.shell(&klipper(policy, ports));
        Self { client, _others: vec![node, servicelb] }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The system is in no hurry to clear away a namespace, and the next node's link has the same name.
        let _ = Command::new("ip").args(["link", "delete", "eth0"]).status();
    }
}

/// kube-proxy's rules for the Service: its addresses become the pod's, and the source becomes the node's where an answer
/// would not come back this way otherwise.
fn kube_proxy(policy: Policy, way: Way, ports: &[(u16, u16)]) -> String {
    let mut rules = "iptables -t nat -N KUBE-SERVICES
        iptables -t nat -I PREROUTING -j KUBE-SERVICES
        iptables -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n"
        .to_owned();
    let mut to_pod = |matches: &str, masquerade: Option<&str>, target: u16| {
        if let Some(masquerade) = masquerade {
            let _ = writeln!(
                rules,
                "iptables -t nat -A KUBE-SERVICES -p tcp {matches} {masquerade} -j MARK --set-xmark 0x4000/0x4000"
            );
        }
        let _ = writeln!(
            rules,
            "iptables -t nat -A KUBE-SERVICES -p tcp {matches} -j DNAT --to-destination {GATEWAY}:{target}"
        );
    };
    let from_outside = match policy {
        Policy::Cluster => Some(""),
        // What comes from outside keeps its source; there is a pod on this very node.
        Policy::Local => None,
    };
    for &(port, target) in ports {
        to_pod(&format!("-d {CLUSTER_IP} --dport {port}"), Some(&format!("! -s {PODS}")), target);
        if way == Way::Listed {
            to_pod(&format!("-d {NODE} --dport {port}"), from_outside, target);
        }
        let node_port = port + NODE_PORTS;
        to_pod(&format!("-m addrtype --dst-type LOCAL --dport {node_port}"), from_outside, target);
    }
    rules
}

/// What the portmap plugin appends for host ports: of the ServiceLB pod, or of the gateway pod itself.
fn portmap(way: Way, ports: &[(u16, u16)]) -> String {
    let rule = |&(port, target): &(u16, u16)| {
        let destination = match way {
            Way::HostPort => format!("{GATEWAY}:{target}"),
            Way::Listed | Way::ServiceLb | Way::HostNetwork => format!("{SERVICELB}:{port}"),
        };
        format!(
            "iptables -t nat -A PREROUTING -p tcp -m addrtype --dst-type LOCAL --dport {port} -j DNAT --to-destination {destination}\n"
        )
    };
    ports.iter().map(rule).collect()
}

/// The rules inside the ServiceLB pod: to the Service's address, or to the node's own port where the policy is Local.
fn klipper(policy: Policy, ports: &[(u16, u16)]) -> String {
    let rule = |&(port, _): &(u16, u16)| {
        let (destination, to) = match policy {
            Policy::Cluster => (CLUSTER_IP, port),
            Policy::Local => (NODE, port + NODE_PORTS),
        };
        format!(
            "iptables -I FORWARD -s 0.0.0.0/0 -p tcp --dport {to} -j ACCEPT
             iptables -A FORWARD -d {destination}/32 -p tcp --dport {to} -j DROP
             iptables -t nat -I PREROUTING -p tcp --dport {port} -j DNAT --to-destination {destination}:{to}
             iptables -t nat -I POSTROUTING -d {destination}/32 -p tcp -j MASQUERADE\n"
        )
    };
    ports.iter().map(rule).collect()
}
