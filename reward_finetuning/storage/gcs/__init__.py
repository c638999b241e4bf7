"""Run directories in Google Cloud Storage."""
