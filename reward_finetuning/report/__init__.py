"""The pages that people read: findings with intervals, charts, pairs of pictures."""
