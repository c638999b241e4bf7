# One account a role, and no keys: pods take an account's identity through Workload Identity, Vertex through actAs.
# Kubeflow Pipelines gives all tasks of a run one service account (as Vertex does), so these are roles of runs:
#   trainer    runs that train, fused or split, and the pods of a TrainJob
#   sampler    runs that only draw and score, and reward services
#   evaluator  runs that evaluate and promote
#   mlflow     the MLflow server
#   viewer     Kubeflow's UI, which shows reports out of the pipelines bucket
locals {
  accounts = {
    trainer   = { title = "Runs that train", namespace = "kubeflow", service_accounts = ["rft-trainer"] }
    sampler   = { title = "Runs that draw and score", namespace = "kubeflow", service_accounts = ["rft-sampler"] }
    evaluator = { title = "Runs that evaluate and promote", namespace = "kubeflow", service_accounts = ["rft-evaluator"] }
    mlflow    = { title = "The MLflow server", namespace = "mlflow", service_accounts = ["mlflow"] }
    viewer    = { title = "Kubeflow Pipelines UI", namespace = "kubeflow", service_accounts = ["ml-pipeline-ui"] }
  }

  # Roles of runs, which may also run on Vertex.
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

  depends_on = [google_container_cluster.main] # which makes the pool of identities
}

# What the machines themselves may do: write logs and metrics, pull images. Nothing of ours.
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
