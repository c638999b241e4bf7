"""Where tasks run: the cluster file, placement, images, and job payloads."""
