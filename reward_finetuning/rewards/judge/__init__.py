"""A judge: a language model that sees pictures, behind an OpenAI-compatible chat endpoint."""
