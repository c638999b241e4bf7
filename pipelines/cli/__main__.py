"""`python -m reward_finetuning.pipelines.cli`: the `rft` command."""

from reward_finetuning.pipelines.cli.app import main

main()
