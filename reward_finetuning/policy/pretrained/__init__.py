"""What a pipeline is, known from its files before it is loaded: its source, architecture, schedule. Needs no torch."""
