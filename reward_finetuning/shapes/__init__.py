"""The built-in world: prompts, pictures, the reward that reads pixels, the small pretrained model."""
