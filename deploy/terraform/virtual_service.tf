# A tenth of the shop's requests go to its next version.
resource "kubernetes_manifest" "shop" {
  manifest = {
    apiVersion = "networking.istio.io/v1"
    kind       = "VirtualService"
    metadata = {
      name      = "shop"
      namespace = "default"
    }
    spec = {
      hosts    = ["shop.${var.domain}"]
      gateways = ["istio-system/public"]
      http = [
        {
          match   = [{ uri = { prefix = "/api/" } }]
          timeout = "15s"
          retries = { attempts = 2, perTryTimeout = "5s", retryOn = "connect-failure,refused-stream" }
          route = [
            { destination = { host = "shop", port = { number = 8080 } }, weight = 90 },
            { destination = { host = "shop-next", port = { number = 8080 } }, weight = 10 },
          ]
        },
        {
          route = [{ destination = { host = "shop-web", port = { number = 8080 } } }]
        },
      ]
    }
  }

  depends_on = [kubernetes_manifest.gateway]
}

# A PostgreSQL server that is found by its name: psql "host=orders.db.example.com sslmode=require".
resource "kubernetes_manifest" "orders_db" {
  manifest = {
    apiVersion = "networking.istio.io/v1"
    kind       = "VirtualService"
    metadata = {
      name      = "orders-db"
      namespace = "default"
    }
    spec = {
      hosts    = ["orders.db.${var.domain}"]
      gateways = ["istio-system/public"]
      tls = [{
        match = [{ port = 5432, sniHosts = ["orders.db.${var.domain}"] }]
        route = [{ destination = { host = "orders-db", port = { number = 5432 } } }]
      }]
    }
  }

  depends_on = [kubernetes_manifest.gateway]
}
