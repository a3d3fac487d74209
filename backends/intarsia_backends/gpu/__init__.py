"""Regions as kernels for GPUs, whatever language and driver: what such targets and devices share.

`machine` and `lower` make calls of kernels, `emit` writes them as TIR over blocks and threads, `source` prints that as
text, `compiler` puts a region together; `launches` is what an artifact says of how kernels are called, and `region`
runs it on a device by what `driver` asks of one. The last three need NumPy alone.
"""
