"""Ops as calls of kernels over buffers, for any target: what code generators share. It imports no backend.

From below: `access` and `machine` (access patterns of loops; what is asked of a machine), `expressions` and
`expression_types` (what loops compute, with a checker), `kernel` and `kernels` (descriptions, plain data), `program`,
`views` (calls, buffers; how values lie in them), `memory_plan`, `builder` (memory, calls, and values that are made when
they are first read), `layouts` and `fusion` (channels last; elementwise ends), `ops` (a file for each family of ops),
`region` (the table of all ops).
"""
