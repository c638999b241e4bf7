# The PostgreSQL database of MLflow. It has no public address. Its password is not a Terraform value: the runbook creates it and
# stores it in Secret Manager, so that it is never in a state file.
resource "google_sql_database_instance" "mlflow" {
  #checkov:skip=CKV_GCP_6: TLS is required; a client certificate would be an additional secret
  #checkov:skip=CKV_GCP_79: one major behind the newest on purpose; a major upgrade is a planned outage
  #checkov:skip=CKV_GCP_55: log_min_messages keeps the PostgreSQL default (warning); error would hide messages about slow queries
  #checkov:skip=CKV_GCP_109: the same for log_min_error_statement
  name                = "${var.name}-mlflow"
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.deletion_protection

  settings {
    edition           = "ENTERPRISE"
    tier              = var.database_tier
    availability_type = "ZONAL" # runs write metrics to a journal first, so an outage of MLflow loses no data
    disk_type         = "PD_SSD"
    disk_autoresize   = true
    user_labels       = local.labels

    deletion_protection_enabled = var.deletion_protection

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.main.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      start_time                     = "02:00"
      backup_retention_settings {
        retained_backups = 14
      }
    }

    maintenance_window {
      day  = 7
      hour = 3
    }

    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }
    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
    database_flags {
      name  = "log_disconnections"
      value = "on"
    }
    database_flags {
      name  = "log_duration"
      value = "on"
    }
    database_flags {
      name  = "log_hostname"
      value = "on"
    }
    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
  }

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "mlflow" {
  name     = "mlflow"
  instance = google_sql_database_instance.mlflow.name
}

# Users and permissions of basic-auth are in a separate database, because MLflow migrates both separately.
resource "google_sql_database" "mlflow_auth" {
  name     = "mlflow_auth"
  instance = google_sql_database_instance.mlflow.name
}
