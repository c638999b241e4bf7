"""Reward models with published weights, one file per scorer."""
