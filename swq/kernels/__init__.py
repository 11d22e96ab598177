"""The two hottest formulas of a training step, in plain PyTorch and as compiled C that gives the same bits."""
