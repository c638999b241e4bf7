"""`python -m pipelines.cli`: the `rft` command."""

from pipelines.cli.app import main

main()
