"""Training on several nodes of a Kubernetes cluster: a light task makes a TrainJob of Kubeflow Trainer, and waits.

What it needs of Kubernetes is in `jobs`; `manifest` is pure; `attempt` is what the launching components call.
"""
