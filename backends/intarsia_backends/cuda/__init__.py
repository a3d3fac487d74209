"""NVIDIA's GPUs: the kernels of the room `gpu` as CUDA C++, compiled to machine code when a model is, and run by the
driver's own bindings."""
