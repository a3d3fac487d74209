"""Offline batches: many files through one artifact, on many processors or machines, each exactly once.

A worker runs and no more: one process reads the inputs and writes the outputs and the ledger, so that nothing is done
twice whoever dies, and workers need neither the files nor anything but NumPy.
"""
