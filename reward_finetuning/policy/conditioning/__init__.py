"""Prompts to what a network is conditioned on."""
