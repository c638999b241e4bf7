project = "my-project"
region  = "us-central1"

# Zones that have all GPU types below: gcloud compute accelerator-types list --filter=zone:us-central1
node_zones = ["us-central1-a", "us-central1-c"]

control_plane_cidrs = { "203.0.113.0/24" = "office" }

gpu_pools = {
  "l4-spot" = { machine_type = "g2-standard-8", accelerator = "nvidia-l4", gpus = 1, spot = true, max_nodes = 8 }
  "l4"      = { machine_type = "g2-standard-16", accelerator = "nvidia-l4", gpus = 1, spot = false, max_nodes = 2 }
}
