"""Affine quantization of weights: schemes, quantization parameters, fake quantization, bit packing."""
