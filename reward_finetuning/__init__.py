"""The library: everything that runs inside a container. It imports no kfp."""
