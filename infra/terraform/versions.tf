terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The team shares one state in a bucket, which the runbook creates first: terraform init -backend-config=bucket=...
  backend "gcs" {
    prefix = "reward-finetuning"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
