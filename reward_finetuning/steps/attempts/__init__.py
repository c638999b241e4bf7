"""Attempts of a step in a pod: the refusal and the memory marks that one attempt leaves for the next."""
