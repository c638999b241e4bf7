# Vertex AI has no permissions on single pipelines or jobs, and roles/aiplatform.user could also read data sets, deploy models and
# change the runs of others. These roles contain the permissions that a task or a submitter uses, and no other.
locals {
  vertex_lineage = [
    "aiplatform.artifacts.create", "aiplatform.artifacts.get", "aiplatform.artifacts.list", "aiplatform.artifacts.update",
    "aiplatform.contexts.addContextArtifactsAndExecutions", "aiplatform.contexts.addContextChildren",
    "aiplatform.contexts.create", "aiplatform.contexts.get", "aiplatform.contexts.list", "aiplatform.contexts.update",
    "aiplatform.executions.addExecutionEvents", "aiplatform.executions.create", "aiplatform.executions.get",
    "aiplatform.executions.list", "aiplatform.executions.queryExecutionInputsAndOutputs", "aiplatform.executions.update",
    "aiplatform.metadataStores.get",
  ]
  vertex_jobs = [
    "aiplatform.customJobs.cancel", "aiplatform.customJobs.create", "aiplatform.customJobs.get", "aiplatform.customJobs.list",
  ]
  vertex_pipelines = [
    "aiplatform.artifacts.get", "aiplatform.artifacts.list", "aiplatform.contexts.get", "aiplatform.contexts.list",
    "aiplatform.customJobs.get", "aiplatform.executions.get", "aiplatform.executions.list",
    "aiplatform.executions.queryExecutionInputsAndOutputs", "aiplatform.locations.get", "aiplatform.metadataStores.get",
    "aiplatform.pipelineJobs.cancel", "aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get",
    "aiplatform.pipelineJobs.list", "aiplatform.schedules.create", "aiplatform.schedules.delete", "aiplatform.schedules.get",
    "aiplatform.schedules.list", "aiplatform.schedules.update",
  ]

  vertex_roles = {
    Task      = { title = "Task of a reward finetuning pipeline", permissions = concat(local.vertex_lineage, local.vertex_jobs) }
    Submitter = { title = "Submitter of reward finetuning pipelines", permissions = local.vertex_pipelines }
  }
}

resource "google_project_iam_custom_role" "vertex" {
  for_each    = local.vertex_roles
  role_id     = "${replace(var.name, "-", "_")}Vertex${each.key}"
  title       = each.value.title
  permissions = each.value.permissions

  depends_on = [google_project_service.services]
}

# Tasks run as an account of accounts.tf. The submitter needs actAs on this account.
resource "google_project_iam_member" "vertex_runners" {
  for_each = local.runners
  project  = var.project
  role     = google_project_iam_custom_role.vertex["Task"].id
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
  role    = google_project_iam_custom_role.vertex["Submitter"].id
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
