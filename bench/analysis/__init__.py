"""From scores to numbers: shares with intervals, rows of seeds, SW's share, windows that broke."""
