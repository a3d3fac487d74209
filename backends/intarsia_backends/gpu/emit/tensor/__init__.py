"""Sums of products by tensor cores: `form` finds them, `choice` gives them tiles, `kernel` writes them."""
