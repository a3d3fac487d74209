"""The overlay: an int8 tensor processor for FPGA boards, in two rooms.

machine   what it is: instruction set, configurations, registers, layouts, regions, host driver. Boards have it.
compiler  the target: from a region to a program. It imports the machine; the machine never imports it.
"""
