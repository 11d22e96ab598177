"""Block-wise reconstruction: the walk over blocks with its two activation paths."""
