"""Scorers over HTTP: the client, the server, and the wire format they share."""
