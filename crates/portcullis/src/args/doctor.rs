//! Arguments of `doctor`.

use clap::Args;

use super::Threshold;
use crate::output::Format;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed: the cluster is asked as its kubeconfig says (KUBECONFIG), in a pod as the pod's account. What may not
be seen is named. docs/doctor.md has every finding.

Exit status: 0 when all is well, 1 when something is as bad as --fail-on says (by default an error), 2 when the cluster
cannot be asked.

Examples:
  portcullis doctor
  portcullis doctor --kube-context edge --namespace gateways --name edge
  portcullis doctor -o json | jq '.findings[].code'")]
pub(crate) struct DoctorArgs {
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "PORTCULLIS_KUBE_CONTEXT", value_name = "NAME")]
    pub(crate) kube_context: Option<String>,

    /// Namespace of the gateway
    #[arg(long, env = "PORTCULLIS_NAMESPACE", value_name = "NAME", default_value = "istio-system")]
    pub(crate) namespace: String,

    /// Name of the gateway's Service
    #[arg(long, env = "PORTCULLIS_NAME", value_name = "NAME", default_value = "istio-ingressgateway")]
    pub(crate) name: String,

    /// The gateway looks into this namespace only, beside its own; may be repeated [default: all of them]
    #[arg(long, env = "PORTCULLIS_WATCH_NAMESPACES", value_name = "NAME", value_delimiter = ',')]
    pub(crate) watch_namespace: Vec<String>,

    /// Print for people or for programs
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,

    /// Findings below this are not printed
    #[arg(long, value_enum, default_value_t = Threshold::Warning, value_name = "SEVERITY")]
    pub(crate) severity: Threshold,

    /// Findings from this on make the exit status 1
    #[arg(long, value_enum, default_value_t = Threshold::Error, value_name = "SEVERITY")]
    pub(crate) fail_on: Threshold,
}
