"""What stages read of a prepared model or corpus: tokenizer, weights, tokens."""
