"""Run a pipeline on this machine, through kfp.local."""
