"""What every data set and generator shares."""
