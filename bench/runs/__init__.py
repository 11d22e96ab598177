"""Running a suite or a slice of it under DVC, with one line of progress."""
