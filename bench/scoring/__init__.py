"""From a quantized model to log-likelihoods and losses, item by item."""
