"""The pipelines, and the package that they compile to."""
