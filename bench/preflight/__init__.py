"""What is asked before anything starts: is it valid, how long will it take, does it fit."""
