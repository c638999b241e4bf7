"""Evaluation of policies on prompt sets: images, comparison, reports, promotion."""
