"""Regions as calls of kernels for GPUs: what shared lowering makes, and tables of their own in front of it.

Values of four axes lie with their channels last, int8 as bytes; sums of products go along channels that lie side by
side in both factors, so that kernels read them by vectors and multiply them by matrix instructions.
"""

from intarsia_backends.gpu.lower.region import lower_region, supports

__all__ = ["lower_region", "supports"]
