"""How long a card must take at least for what a region is, and for what its kernels do, from published figures."""
