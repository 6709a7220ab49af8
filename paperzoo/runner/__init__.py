"""A run: settle, check, build, run, end."""
