"""How models and data arrive: from packages, folders and the hub, into one layout."""
