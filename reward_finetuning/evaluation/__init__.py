"""Policies against prompt sets: who is compared, on which images, and whether a policy is promoted."""
