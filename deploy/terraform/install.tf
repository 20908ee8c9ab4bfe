# The gateway. Its definitions come along (Helm applies the chart's crds/ on the first install), and the manifests below
# are planned against them: the first time, apply this resource alone.
#
#   terraform apply -target=helm_release.portcullis
#   terraform apply
resource "helm_release" "portcullis" {
  name             = "portcullis"
  chart            = var.chart
  namespace        = "istio-system"
  create_namespace = true
  atomic           = true

  values = [yamlencode({
    kind = "DaemonSet"
    podDisruptionBudget = {
      maxUnavailable = 1
    }
  })]
}
