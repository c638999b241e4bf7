"""One program a component: read, compute, write."""
