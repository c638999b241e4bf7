"""`rft tune`: a grid of short runs around a run file's values, and the run file of the best."""
