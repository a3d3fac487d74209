"""Sums of products in tiles, for machines that copy to shared memory by themselves: `form` finds them, `choice` gives
them tiles, `factors` brings what they are made of, `warps` and `threads` multiply, `kernel` puts it together."""
