"""Run directories, models and prompt sets in buckets: shared rules, and one small adapter per storage service."""
