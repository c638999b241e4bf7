resource "google_container_cluster" "main" {
  #checkov:skip=CKV_GCP_12: Dataplane V2 (datapath_provider) enforces network policies; the old addon excludes it
  #checkov:skip=CKV_GCP_65: whether there are Google Groups to bind roles to is the organisation's matter
  name                = var.name
  location            = var.region
  node_locations      = var.node_zones
  network             = google_compute_network.main.id
  subnetwork          = google_compute_subnetwork.nodes.id
  deletion_protection = var.deletion_protection

  # Node pools are resources of their own, so that one can be changed without the cluster.
  remove_default_node_pool = true
  initial_node_count       = 1

  node_config {
    service_account = google_service_account.nodes.email
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  release_channel {
    channel = "REGULAR"
  }

  # A node or its control plane is not replaced in the middle of a working day.
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T02:00:00Z"
      end_time   = "2026-01-03T10:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = "172.16.0.0/28"
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.control_plane_cidrs
      content {
        cidr_block   = cidr_blocks.key
        display_name = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  # Dataplane V2 enforces network policies by itself.
  datapath_provider           = "ADVANCED_DATAPATH"
  enable_intranode_visibility = true
  enable_shielded_nodes       = true

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  # MLflow's secrets are mounted straight from Secret Manager.
  secret_manager_config {
    enabled = true
  }

  binary_authorization {
    evaluation_mode = "PROJECT_SINGLETON_POLICY_ENFORCE"
  }

  addons_config {
    gcs_fuse_csi_driver_config {
      enabled = false # one file after another over FUSE is slower than our own client, and has no preconditions
    }
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS", "DCGM"]
    managed_prometheus {
      enabled = true
    }
  }

  # Cost by namespace and label in the billing export.
  cost_management_config {
    enabled = true
  }

  resource_labels = local.labels

  lifecycle {
    ignore_changes = [node_config, initial_node_count] # of the default pool, which is gone
  }

  depends_on = [google_project_iam_member.nodes]
}

locals {
  labels = { app = "reward-finetuning" }
}
