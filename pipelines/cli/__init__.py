"""The `rft` command, one file a command group."""
