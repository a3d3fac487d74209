"""The target and the device `opencl`: the kernels of `gpu` in OpenCL C, run by pyopencl."""
