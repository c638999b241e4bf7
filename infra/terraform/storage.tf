# One bucket per purpose, so that permissions can be granted per bucket, or per prefix where that is too much:
#   runs       run directories (gs://.../runs/<run>): rollouts, policies, reports, pointers
#   inputs     models and prompt sets, which runs only read
#   pipelines  artifacts of KFP and Vertex AI: manifests of a few KiB
#   mlflow     artifacts of MLflow: reports, image grids, promoted policies
locals {
  delete_after = {
    runs      = var.run_days
    inputs    = null
    pipelines = var.run_days
    mlflow    = null
  }

  # A lifecycle rule matches the prefix or suffix of a name, and not the epoch in its middle. The rules of a bucket can have 1000
  # prefixes and suffixes. These are the file names of the first 450 micro-batches of an epoch
  # (reward_finetuning/storage/artifacts/rollouts.py).
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

  # Training deletes rollouts (retention.rollouts). This rule deletes rollouts of killed attempts and abandoned runs.
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

# Logs of writes and deletions. Reads are not logged, because training reads millions of objects.
resource "google_project_iam_audit_config" "storage" {
  project = var.project
  service = "storage.googleapis.com"

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
