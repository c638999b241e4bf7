"""The official packages of the reward models behind the Scorer protocol: slow, and the reference for verification.

They pin dependencies of 2023, so they are installed in the scorer environment (images/scorer), which contains this
project without its dependencies. `python -m reward_finetuning.rewards.official` there serves `rewards/verification.py`.
"""
