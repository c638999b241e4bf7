"""Commands for a cluster: compile, submit and schedule."""
