"""Official files, checked, decoded and kept as plain arrays."""
