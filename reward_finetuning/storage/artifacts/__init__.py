"""What is inside of artifacts: rollouts, rewards, evaluations, scores, policies."""
