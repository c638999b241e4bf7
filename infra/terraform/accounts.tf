# One account per role, without keys. Pods use an account through Workload Identity, Vertex AI through actAs. Kubeflow Pipelines
# and Vertex AI use one service account for all tasks of a run, so each role is a kind of run:
#   trainer    runs that train, fused or split, and the pods of a TrainJob
#   sampler    runs that only sample and score, and reward services
#   evaluator  runs that evaluate and promote
#   mlflow     the MLflow server
#   viewer     the Kubeflow UI, which shows reports from the pipelines bucket
locals {
  accounts = {
    trainer   = { title = "Runs that train", namespace = "kubeflow", service_accounts = ["rft-trainer"] }
    sampler   = { title = "Runs that draw and score", namespace = "kubeflow", service_accounts = ["rft-sampler"] }
    evaluator = { title = "Runs that evaluate and promote", namespace = "kubeflow", service_accounts = ["rft-evaluator"] }
    mlflow    = { title = "The MLflow server", namespace = "mlflow", service_accounts = ["mlflow"] }
    viewer    = { title = "Kubeflow Pipelines UI", namespace = "kubeflow", service_accounts = ["ml-pipeline-ui"] }
  }

  # Kinds of runs, which can also run on Vertex AI.
  runners = toset(["trainer", "sampler", "evaluator"])

  identities = merge([
    for role, account in local.accounts : {
      for name in account.service_accounts : "${account.namespace}/${name}" => role
    }
  ]...)
}

resource "google_service_account" "roles" {
  for_each     = local.accounts
  account_id   = "${var.name}-${each.key}"
  display_name = each.value.title

  depends_on = [google_project_service.services]
}

resource "google_service_account_iam_member" "workload_identity" {
  for_each           = local.identities
  service_account_id = google_service_account.roles[each.value].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${each.key}]"

  depends_on = [google_container_cluster.main] # creates the workload identity pool
}

# The account of the machines: it can write logs and metrics and pull images. It has no access to the buckets of this project.
resource "google_service_account" "nodes" {
  account_id   = "${var.name}-nodes"
  display_name = "GKE nodes"

  depends_on = [google_project_service.services]
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}
