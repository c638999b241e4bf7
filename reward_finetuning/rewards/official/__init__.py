"""The reward models' own packages behind our protocol: slow, and the measure of our scorers.

They pin dependencies of 2023, so they live in the scorer environment (images/scorer), where this project is installed
without its own dependencies; `python -m reward_finetuning.rewards.official` there answers `rewards/verification.py`.
"""
