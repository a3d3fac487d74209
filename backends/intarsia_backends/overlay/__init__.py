"""The overlay: an int8 tensor processor for FPGA boards. Its configurations, instruction set, layouts and compiler."""
