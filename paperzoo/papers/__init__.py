"""A folder for each paper: its maths as plain modules, then its training, and its card."""
