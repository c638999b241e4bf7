"""The learner: updates, optimizer, moving average, processes, and the monitor of a run."""
