resource "google_container_cluster" "main" {
  #checkov:skip=CKV_GCP_12: Dataplane V2 (datapath_provider) enforces network policies; the old addon excludes it
  #checkov:skip=CKV_GCP_65: the organisation decides whether roles are bound to Google Groups
  name                = var.name
  location            = var.region
  node_locations      = var.node_zones
  network             = google_compute_network.main.id
  subnetwork          = google_compute_subnetwork.nodes.id
  deletion_protection = var.deletion_protection

  # Node pools are separate resources, so that a pool can change without the cluster.
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

  # Nodes and the control plane are not replaced during working hours.
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

  # Dataplane V2 enforces network policies.
  datapath_provider           = "ADVANCED_DATAPATH"
  enable_intranode_visibility = true
  enable_shielded_nodes       = true

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  # Secrets of MLflow are mounted from Secret Manager.
  secret_manager_config {
    enabled = true
  }

  binary_authorization {
    evaluation_mode = "PROJECT_SINGLETON_POLICY_ENFORCE"
  }

  addons_config {
    gcs_fuse_csi_driver_config {
      enabled = false # FUSE reads files sequentially, is slower than the storage client of this project, and has no preconditions
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
    ignore_changes = [node_config, initial_node_count] # of the default pool, which is removed
  }

  depends_on = [google_project_iam_member.nodes]
}

locals {
  labels = { app = "reward-finetuning" }
}
