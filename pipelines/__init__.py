"""Graphs over the components, where their tasks run, and the `rft` command."""
