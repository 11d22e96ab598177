"""Speed and memory as ratios to references that are in the repository, measured in turns in one run."""
