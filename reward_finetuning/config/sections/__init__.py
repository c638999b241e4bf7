"""The sections of a run file, one file a section."""
