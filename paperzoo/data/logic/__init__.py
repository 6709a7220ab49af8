"""SAT problems and Sudokus."""
