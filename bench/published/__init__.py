"""What others printed and what a paper claims, and what the measurements say of it."""
