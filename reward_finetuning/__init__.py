"""The installed package. `pipelines` and `components` are links to the top-level folders of the repository.

All else is the library: everything that runs inside a container. It imports no kfp.
"""
