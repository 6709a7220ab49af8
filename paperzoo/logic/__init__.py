"""What data and papers both know of logic."""
