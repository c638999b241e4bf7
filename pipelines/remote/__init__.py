"""Submit packages to Kubeflow Pipelines or Vertex AI, follow runs, and schedule them."""
