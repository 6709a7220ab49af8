"""Kinds of faults for `scripts/faults.py`: a file each, whose list `FAULTS` is all that is asked of it."""
