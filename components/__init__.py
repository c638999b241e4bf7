"""The KFP contract of each step: plain typed functions, decorated late by reward_finetuning.pipelines.targets.target.

A component has the name and the parameters of its step, and a body of one call. KFP passes artifacts, and the component
passes their paths on. A `launch_` component runs its step on several nodes, which its parameter `job` describes.
"""
