"""Reward models behind one protocol: our own, plug-ins, HTTP services, and their weighted sum."""
