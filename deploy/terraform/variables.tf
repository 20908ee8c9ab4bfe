variable "kubeconfig" {
  description = "The kubeconfig of the cluster; K3s writes its own to /etc/rancher/k3s/k3s.yaml."
  type        = string
  default     = "~/.kube/config"
}

variable "chart" {
  description = "The chart: its folder, or the archive that cargo xtask dist makes."
  type        = string
  default     = "../helm/portcullis"
}

variable "domain" {
  description = "The domain that the gateway serves."
  type        = string
  default     = "example.com"
}

variable "issuer" {
  description = "The ClusterIssuer of cert-manager that signs the certificate."
  type        = string
  default     = "letsencrypt"
}
