# Vertex AI: tasks run as an account of accounts.tf. The submitter needs actAs on this account.
resource "google_project_iam_member" "vertex_runners" {
  for_each = local.runners
  project  = var.project
  role     = "roles/aiplatform.user" # to write the metadata of the run, and to create CustomJobs for several nodes
  member   = google_service_account.roles[each.value].member
}

# The account of schedules and CI jobs. People receive the same two roles through a group, outside of this configuration.
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

# A task that creates a CustomJob (training on several nodes) uses its own account for the job.
resource "google_service_account_iam_member" "launches_as_itself" {
  service_account_id = google_service_account.roles["trainer"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.roles["trainer"].member
}

resource "google_storage_bucket_iam_member" "submitter" {
  bucket = google_storage_bucket.buckets["pipelines"].name
  role   = "roles/storage.objectUser" # the compiled package is stored next to the artifacts
  member = google_service_account.submitter.member
}
