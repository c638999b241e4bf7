# Vertex AI: tasks run as an account of accounts.tf; whoever submits acts as it.
resource "google_project_iam_member" "vertex_runners" {
  for_each = local.runners
  project  = var.project
  role     = "roles/aiplatform.user" # writes the metadata of its own run; a multi-node launcher makes CustomJobs
  member   = google_service_account.roles[each.value].member
}

# What a schedule or a CI job submits as; people get the same two roles by group, outside of this.
resource "google_service_account" "submitter" {
  account_id   = "${var.name}-submitter"
  display_name = "Submits pipelines to Vertex AI"

  depends_on = [google_project_service.services]
}

resource "google_project_iam_member" "submitter" {
  project = var.project
  role    = "roles/aiplatform.user"
  member  = google_service_account.submitter.member
}

resource "google_service_account_iam_member" "act_as" {
  for_each           = local.runners
  service_account_id = google_service_account.roles[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.submitter.member
}

# A task that launches a CustomJob (training over several nodes) launches it as itself.
resource "google_service_account_iam_member" "launches_as_itself" {
  service_account_id = google_service_account.roles["trainer"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.roles["trainer"].member
}

resource "google_storage_bucket_iam_member" "submitter" {
  bucket = google_storage_bucket.buckets["pipelines"].name
  role   = "roles/storage.objectUser" # the compiled package lies beside the artifacts
  member = google_service_account.submitter.member
}
