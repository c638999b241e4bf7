"""Networks of the reward models with their tokenizers, preprocessing and checkpoints."""
