"""Intervals, diversity, and the pairing of images."""
