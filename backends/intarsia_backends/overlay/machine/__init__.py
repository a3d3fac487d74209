"""What the overlay is: its instruction set, configurations, registers, layouts, regions and host driver. NumPy alone.

The compiler, the simulator, the Verilated RTL and boards stand on this; it stands on none of them.
"""
