"""The networks inside reward models, their tokenizers, preprocessing and checkpoints."""
