"""The pictures of the report: cards of pairs, reels, the gallery, rows of several runs, the grid for MLflow."""
