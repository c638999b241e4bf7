"""Reward models with published weights, one file a scorer."""
