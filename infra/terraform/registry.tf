resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84: Google-managed keys encrypt it; images contain no secrets
  repository_id = "${var.name}-images"
  location      = var.region
  format        = "DOCKER"
  labels        = local.labels

  # Cluster files name images by digest. A tag that moves would make the record of a run wrong.
  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "15552000s" # 180 days
    }
  }

  depends_on = [google_project_service.services]
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}
