# One bucket a purpose, so that an account's rights are a bucket's, and a prefix's where that is still too much:
#   runs       run directories (gs://.../runs/<run>): rollouts, policies, reports, pointers
#   inputs     models and prompt sets, which runs only read
#   pipelines  KFP's and Vertex' own artifacts: manifests of a few KiB
#   mlflow     what MLflow serves: reports, image grids, promoted policies
locals {
  delete_after = {
    runs      = var.run_days
    inputs    = null
    pipelines = var.run_days
    mlflow    = null
  }

  # A rule matches the beginning or the end of a name, not the epoch in its middle, and a bucket's rules may name 1000
  # of both: so the files of the first 450 micro-batches of an epoch, as reward_finetuning/storage/artifacts/rollouts.py calls them.
  rollout_files = flatten([for kind in ["trajectories", "images"] : [
    for micro_batch in range(450) : format("%s-%05d.safetensors", kind, micro_batch)
  ]])
}

resource "google_storage_bucket" "buckets" {
  #checkov:skip=CKV_GCP_62: writes are in Cloud Audit Logs (google_project_iam_audit_config.storage), which name the account
  #checkov:skip=CKV_GCP_78: committed objects are never overwritten, and versions of deleted rollouts would be billed
  for_each                    = local.delete_after
  name                        = "${var.project}-${var.name}-${each.key}"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  labels                      = local.labels

  versioning {
    enabled = false
  }

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days[each.key] * 86400
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  # Trainers delete rollouts themselves (retention.rollouts); this takes what killed attempts and given-up runs left.
  dynamic "lifecycle_rule" {
    for_each = each.key == "runs" ? [var.rollout_days] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = ["runs/"]
        matches_suffix = local.rollout_files
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value == null ? [] : [each.value]
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  depends_on = [google_project_service.services]
}

# Who wrote or deleted what; reads are left out, for a trainer reads millions of objects.
resource "google_project_iam_audit_config" "storage" {
  project = var.project
  service = "storage.googleapis.com"

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
