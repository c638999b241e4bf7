"""The pipelines, where their tasks run, and the `rft` command."""
