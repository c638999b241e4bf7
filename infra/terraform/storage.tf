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

  # Trainers delete rollouts themselves (retention.rollouts); what is left of killed attempts and given-up runs goes by
  # the customTime that the writer gives to rollouts alone, for a rule cannot match the middle of a name.
  dynamic "lifecycle_rule" {
    for_each = each.key == "runs" ? [var.rollout_days] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        days_since_custom_time = lifecycle_rule.value
        matches_prefix         = ["runs/"]
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
