# One Gateway for the whole domain: plaintext is sent to https, PostgreSQL is passed through by server name.
resource "kubernetes_manifest" "gateway" {
  manifest = {
    apiVersion = "networking.istio.io/v1"
    kind       = "Gateway"
    metadata = {
      name      = "public"
      namespace = "istio-system"
    }
    spec = {
      selector = {
        istio = "ingressgateway"
      }
      servers = [
        {
          port  = { number = 80, name = "http", protocol = "HTTP" }
          hosts = ["*.${var.domain}"]
          tls   = { httpsRedirect = true }
        },
        {
          port  = { number = 443, name = "https", protocol = "HTTPS" }
          hosts = ["*.${var.domain}"]
          tls = {
            mode           = "SIMPLE"
            credentialName = "wildcard"
          }
        },
        {
          port  = { number = 5432, name = "tls-postgres", protocol = "TLS" }
          hosts = ["*.db.${var.domain}"]
          tls   = { mode = "PASSTHROUGH" }
        },
      ]
    }
  }

  depends_on = [helm_release.portcullis]
}

# credentialName is a Secret beside the gateway, so the Certificate is there, too. A wildcard needs a DNS-01 issuer.
resource "kubernetes_manifest" "certificate" {
  manifest = {
    apiVersion = "cert-manager.io/v1"
    kind       = "Certificate"
    metadata = {
      name      = "wildcard"
      namespace = "istio-system"
    }
    spec = {
      secretName = "wildcard"
      dnsNames   = ["*.${var.domain}"]
      issuerRef = {
        kind = "ClusterIssuer"
        name = var.issuer
      }
    }
  }
}
