"""A policy as files for other programs: weights, original checkpoint names, model card."""
