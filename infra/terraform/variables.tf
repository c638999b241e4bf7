variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "region" {
  description = "Region of everything: cluster, buckets, registry, database, Vertex."
  type        = string
  default     = "us-central1"
}

variable "node_zones" {
  description = "Zones of the nodes, all of them with the GPUs that gpu_pools asks for (gcloud compute accelerator-types list)."
  type        = list(string)
  default     = ["us-central1-a"]
}

variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "rft"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,12}$", var.name))
    error_message = "name is 2 to 13 characters of a-z, 0-9 and -, and begins with a letter: account ids have room for 30."
  }
}

variable "gpu_pools" {
  description = <<-EOT
    GPU node pools, by name; a name is also a Kueue ResourceFlavor (infra/kubernetes/kueue). All scale to zero.
      machine_type: Google's name, which fixes cores and memory
      accelerator, gpus: GKE's name of the GPU, and how many a node has
      spot: cheap nodes that Google may take back at any moment
      max_nodes: most nodes at a time, over all zones
      disk_gb: boot disk; images and a task's rollouts lie on it
  EOT
  type = map(object({
    machine_type = string
    accelerator  = string
    gpus         = number
    spot         = bool
    max_nodes    = number
    disk_gb      = optional(number, 200)
  }))
  default = {
    "l4-spot"        = { machine_type = "g2-standard-8", accelerator = "nvidia-l4", gpus = 1, spot = true, max_nodes = 8 }
    "l4"             = { machine_type = "g2-standard-16", accelerator = "nvidia-l4", gpus = 1, spot = false, max_nodes = 2 }
    "a100-40gb-spot" = { machine_type = "a2-highgpu-1g", accelerator = "nvidia-tesla-a100", gpus = 1, spot = true, max_nodes = 4 }
    "a100-80gb"      = { machine_type = "a2-ultragpu-1g", accelerator = "nvidia-a100-80gb", gpus = 1, spot = false, max_nodes = 2 }
  }

  validation {
    condition     = alltrue([for pool in values(var.gpu_pools) : pool.gpus > 0 && pool.max_nodes > 0])
    error_message = "A GPU pool has at least one GPU a node and one node at most."
  }
}

variable "system_nodes" {
  description = "Fewest and most nodes (e2-standard-8) for Kubeflow, MLflow and the tasks without a GPU, over all zones."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 6 }
}

variable "control_plane_cidrs" {
  description = "Networks from which kubectl reaches the control plane: CIDR -> whose it is."
  type        = map(string)

  validation {
    condition     = !contains(keys(var.control_plane_cidrs), "0.0.0.0/0")
    error_message = "control_plane_cidrs must not open the control plane to everybody: name the networks of your team."
  }
}

variable "rollout_days" {
  description = "Days after which rollouts that no trainer deleted are deleted; more than the longest offline run takes, which trains on its first ones to the end."
  type        = number
  default     = 30
}

variable "run_days" {
  description = "Days after which anything in the bucket of run directories is deleted; promoted policies live on in MLflow."
  type        = number
  default     = 365
}

variable "soft_delete_days" {
  description = "Days in which a deleted object can be restored, by bucket; 0 or 7 to 90. Rollouts are deleted every epoch, and a soft-deleted one is billed: so 0 for runs."
  type        = map(number)
  default     = { runs = 0, inputs = 7, pipelines = 0, mlflow = 7 }
}

variable "database_tier" {
  description = "Machine of MLflow's PostgreSQL."
  type        = string
  default     = "db-custom-2-7680"
}

variable "deletion_protection" {
  description = "Whether terraform destroy is refused for the cluster and the database; false before a teardown."
  type        = bool
  default     = true
}

variable "mlflow_image" {
  description = "MLflow's image in the registry, by digest; the runbook pushes it after the first apply, and applies again."
  type        = string
  default     = "mlflow@sha256:0000000000000000000000000000000000000000000000000000000000000000"

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.mlflow_image))
    error_message = "mlflow_image is an image by digest: REGISTRY/mlflow@sha256:..."
  }
}
