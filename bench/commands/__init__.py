"""What the command line can do. Each command imports what it needs when it runs, so that help comes at once."""
