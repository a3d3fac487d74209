"""The overlay on a board: regions run on the FPGA through pynq. Only `board` imports pynq, and only when it must."""
