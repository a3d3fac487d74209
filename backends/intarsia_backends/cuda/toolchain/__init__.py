"""What turns CUDA C++ into machine code, and what that code is known to take and do before any GPU has seen it."""
