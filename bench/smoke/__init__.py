"""`python -m bench smoke-gpu`: does this project work on this machine's GPU? Recorded numbers, real shapes, no hub."""
