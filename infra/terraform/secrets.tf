# Only names and readers of secrets. The runbook adds the values with `gcloud secrets versions add`, so no state file contains them.
locals {
  mlflow_secrets = toset(["mlflow-backend-store-uri", "mlflow-flask-secret-key", "mlflow-basic-auth"])
}

resource "google_secret_manager_secret" "mlflow" {
  for_each  = local.mlflow_secrets
  secret_id = "${var.name}-${each.value}"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.services]
}

resource "google_secret_manager_secret_iam_member" "mlflow" {
  for_each  = local.mlflow_secrets
  secret_id = google_secret_manager_secret.mlflow[each.value].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.roles["mlflow"].member
}
