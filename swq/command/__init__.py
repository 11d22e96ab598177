"""The console command `swq`: quantize a model, export it, look at it."""
