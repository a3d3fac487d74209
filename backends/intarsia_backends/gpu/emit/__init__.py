"""Kernels as TIR over blocks and threads: the plain ones of `intarsia_backends.tir`, whose outer loops become a grid,
and those that a GPU wants written in another way."""
