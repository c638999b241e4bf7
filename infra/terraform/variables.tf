variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "region" {
  description = "Region of all resources: cluster, buckets, registry, database, Vertex AI."
  type        = string
  default     = "us-central1"
}

variable "node_zones" {
  description = "Zones of the nodes. All zones must have the GPU types of gpu_pools (gcloud compute accelerator-types list)."
  type        = list(string)
  default     = ["us-central1-a"]
}

variable "name" {
  description = "Prefix of the names of all resources."
  type        = string
  default     = "rft"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,12}$", var.name))
    error_message = "name is 2 to 13 characters of a-z, 0-9 and -, and begins with a letter: account ids have room for 30."
  }
}

variable "gpu_pools" {
  description = <<-EOT
    GPU node pools by name. The name is also a Kueue ResourceFlavor (infra/kubernetes/kueue). All pools scale to zero.
      machine_type: machine type of Google Cloud, which defines cores and memory
      accelerator, gpus: GPU type of GKE, and number of GPUs per node
      spot: cheaper nodes that can be preempted at any time
      max_nodes: maximum number of nodes over all zones
      disk_gb: boot disk, which stores images and the rollouts of a task
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
  description = "Minimum and maximum number of nodes (e2-standard-8) for Kubeflow, MLflow and tasks without a GPU, over all zones."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 6 }
}

variable "control_plane_cidrs" {
  description = "Networks that can reach the control plane with kubectl: CIDR -> display name."
  type        = map(string)

  validation {
    condition     = !contains(keys(var.control_plane_cidrs), "0.0.0.0/0")
    error_message = "control_plane_cidrs must not open the control plane to everybody: name the networks of your team."
  }
}

variable "rollout_days" {
  description = "Days after which remaining rollouts are deleted. Use more days than the longest offline run takes, because offline runs train on their first rollouts until the end."
  type        = number
  default     = 30
}

variable "run_days" {
  description = "Days after which all objects in the bucket of run directories are deleted. Promoted policies are also stored in MLflow."
  type        = number
  default     = 365
}

variable "soft_delete_days" {
  description = "Days in which a deleted object can be restored, by bucket; 0 or 7 to 90. Use 0 for runs, because rollouts are deleted every epoch and soft-deleted objects are billed."
  type        = map(number)
  default     = { runs = 0, inputs = 7, pipelines = 0, mlflow = 7 }
}

variable "database_tier" {
  description = "Machine type of the PostgreSQL database of MLflow."
  type        = string
  default     = "db-custom-2-7680"
}

variable "deletion_protection" {
  description = "Whether terraform destroy is refused for the cluster and the database. Set to false before a teardown."
  type        = bool
  default     = true
}

variable "mlflow_image" {
  description = "Image of MLflow in the registry, with digest. The runbook pushes it after the first apply and then applies again."
  type        = string
  default     = "mlflow@sha256:0000000000000000000000000000000000000000000000000000000000000000"

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.mlflow_image))
    error_message = "mlflow_image is an image by digest: REGISTRY/mlflow@sha256:..."
  }
}
