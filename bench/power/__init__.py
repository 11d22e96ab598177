"""power: what a suite can decide, before it runs."""
