resource "google_compute_network" "main" {
  #checkov:skip=CKV2_GCP_18: GKE creates the firewall rules of its cluster; a separate network allows no other ingress
  name                    = var.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.services]
}

resource "google_compute_subnetwork" "nodes" {
  name                     = "${var.name}-nodes"
  network                  = google_compute_network.main.id
  region                   = var.region
  ip_cidr_range            = "10.0.0.0/20"
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.4.0.0/14"
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.8.0.0/20"
  }

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Nodes have no public address. They pull images of the Kubeflow registries through this gateway.
resource "google_compute_router" "main" {
  name    = var.name
  network = google_compute_network.main.id
  region  = var.region
}

resource "google_compute_router_nat" "main" {
  name                               = var.name
  router                             = google_compute_router.main.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# Google APIs use four fixed addresses (private.googleapis.com), which network policies can name.
locals {
  private_google_domains = toset(["googleapis.com", "pkg.dev", "gcr.io"])
  private_google_ips     = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
}

resource "google_dns_managed_zone" "google" {
  for_each   = local.private_google_domains
  name       = "${var.name}-${replace(each.value, ".", "-")}"
  dns_name   = "${each.value}."
  visibility = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.main.id
    }
  }
}

resource "google_dns_record_set" "google_addresses" {
  for_each     = local.private_google_domains
  managed_zone = google_dns_managed_zone.google[each.value].name
  name         = each.value == "googleapis.com" ? "private.googleapis.com." : "${each.value}."
  type         = "A"
  ttl          = 300
  rrdatas      = local.private_google_ips
}

resource "google_dns_record_set" "google_names" {
  for_each     = local.private_google_domains
  managed_zone = google_dns_managed_zone.google[each.value].name
  name         = "*.${each.value}."
  type         = "CNAME"
  ttl          = 300
  rrdatas      = [google_dns_record_set.google_addresses[each.value].name]
}

# Cloud SQL is in a network of Google that is peered with this network.
resource "google_compute_global_address" "database" {
  name          = "${var.name}-database"
  network       = google_compute_network.main.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = "10.16.0.0"
  prefix_length = 20
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]
}
