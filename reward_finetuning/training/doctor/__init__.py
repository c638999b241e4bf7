"""The doctor for settings: what the chosen numbers do to training, measured every epoch, and what to try instead."""
