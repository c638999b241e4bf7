# Always running: Kubeflow, MLflow, and tasks without a GPU.
resource "google_container_node_pool" "system" {
  name     = "system"
  cluster  = google_container_cluster.main.id
  location = var.region

  autoscaling {
    total_min_node_count = var.system_nodes.min
    total_max_node_count = var.system_nodes.max
    location_policy      = "BALANCED"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = "e2-standard-8"
    disk_type       = "pd-balanced"
    disk_size_gb    = 100
    image_type      = "COS_CONTAINERD"
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels = local.labels
    metadata        = { disable-legacy-endpoints = "true" }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }
}

# GKE installs the driver, runs the device plugin, and labels the nodes with cloud.google.com/gke-accelerator and, for
# Spot, cloud.google.com/gke-spot=true. Cluster files and the Kueue flavors select nodes by these labels.
resource "google_container_node_pool" "gpu" {
  for_each = var.gpu_pools
  name     = each.key
  cluster  = google_container_cluster.main.id
  location = var.region

  initial_node_count = 0

  autoscaling {
    total_min_node_count = 0
    total_max_node_count = each.value.max_nodes
    location_policy      = "ANY" # any zone that has the GPU
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = each.value.machine_type
    spot            = each.value.spot
    disk_type       = "pd-balanced"
    disk_size_gb    = each.value.disk_gb
    image_type      = "COS_CONTAINERD"
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels = merge(local.labels, { pool = each.key })
    metadata        = { disable-legacy-endpoints = "true" }

    guest_accelerator {
      type  = each.value.accelerator
      count = each.value.gpus
      gpu_driver_installation_config {
        gpu_driver_version = "LATEST"
      }
    }

    # Image streaming: containers start before their image (5 GB or more) is completely downloaded.
    gcfs_config {
      enabled = true
    }

    # Only pods that request a GPU run here. The admission of GKE and `rft compile` add the toleration to these pods.
    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }

    # Only pods with this toleration run on Spot nodes.
    dynamic "taint" {
      for_each = each.value.spot ? [1] : []
      content {
        key    = "cloud.google.com/gke-spot"
        value  = "true"
        effect = "NO_SCHEDULE"
      }
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count]
  }
}
