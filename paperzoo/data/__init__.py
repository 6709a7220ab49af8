"""Data sets and generators: a folder for each kind, a file for each family."""
