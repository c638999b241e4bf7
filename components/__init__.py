"""The KFP contract of each step: plain typed functions, decorated late by pipelines.targets.target.

A component has the name and the parameters of its step, and a body of one call; nothing else. It is given KFP's
artifacts, and hands over their paths. A `launch_` component is its step on several nodes: it takes them as `job`.
"""
