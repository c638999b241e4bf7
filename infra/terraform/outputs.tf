output "registry" {
  description = "Registry to which images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.name}"
}

output "buckets" {
  description = "Buckets, by purpose."
  value       = { for name, bucket in google_storage_bucket.buckets : name => bucket.url }
}

output "accounts" {
  description = "E-mail addresses of the accounts, by role."
  value       = { for role, account in google_service_account.roles : role => account.email }
}

output "database_address" {
  description = "Private address of the PostgreSQL database of MLflow."
  value       = google_sql_database_instance.mlflow.private_ip_address
}

output "settings" {
  description = "terraform output -raw settings > ../kubernetes/settings/settings.env: the settings of the manifests."
  value = join("\n", concat(
    [for role, account in google_service_account.roles : "${role}=${account.email}"],
    [
      "project=${var.project}",
      "pipeline_root=${google_storage_bucket.buckets["pipelines"].url}/kfp",
      "mlflow_artifacts=${google_storage_bucket.buckets["mlflow"].url}/artifacts",
      "mlflow_image=${var.mlflow_image}",
      "database_cidr=${google_compute_global_address.database.address}/${google_compute_global_address.database.prefix_length}",
    ],
    [for name, secret in google_secret_manager_secret.mlflow : "${replace(name, "-", "_")}=${secret.name}/versions/latest"],
    [""],
  ))
}
