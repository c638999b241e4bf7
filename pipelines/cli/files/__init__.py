"""Commands about run files and cluster files: list, write, describe and estimate them."""
