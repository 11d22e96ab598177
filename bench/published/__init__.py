"""Published figures, a paper's claims, and what the measurements say about them."""
