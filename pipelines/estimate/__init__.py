"""Estimate of the cost of a run."""
