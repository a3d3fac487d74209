"""What kernels call that is no function of numbers: copies of several bytes, and products of small matrices by the
lanes of a warp. A dialect whose machines have tensor cores defines all of them in its preamble, under these names.

Emitters write them as calls whose first argument is what they write; places in shared memory are bytes.

COPY_4, COPY_8, COPY_16(memory, place, source, inside)
    so many bytes, which start at a multiple of as many, to shared memory; zeros where it is not inside. It may happen
    later, by the end of the thread's next COPY_WAIT that does not leave its group out
COPY_COMMIT()
    ends a group of copies
COPY_WAIT(n)
    until all groups of this thread but the last n are there
PUT_1, PUT_2, PUT_4(memory, place, value)
    a number of so many bytes to shared memory
LOAD_MATRIX_4, LOAD_MATRIX_2(fragments, memory, place)
    by a warp: so many matrices of 8 rows of 16 bytes from shared memory. Lane i says where row i % 8 of matrix i / 8
    stands, and gets of each matrix bytes i % 4 * 4 .. + 3 of row i / 4
MULTIPLY_INT8, MULTIPLY_FLOAT16(sums, first, second)
    by a warp: adds products of 16 lines and 8 lines of 32 bytes each. Fragments, as LOAD_MATRIX gives them: the first
    16 bytes of the first 8 lines and of the others, then the last 16 of both; of the 8 lines the first 16 bytes and
    the last. Lane i has the sums of line i / 4 with i % 4 * 2 and the next one, then of line i / 4 + 8 with these
FETCH_4, STORE_4(target, source)
    four neighbouring elements from memory to registers, or back
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

COPY_BYTES = (16, 8, 4)
"""Sizes of the copies that there are."""

ALIGNED: Mapping[str, Callable[[int], int]] = {
    **{f"COPY_{size}": lambda item_bytes, size=size: size for size in COPY_BYTES},  # type: ignore[misc]
    "FETCH_4": lambda item_bytes: 4 * item_bytes,
    "STORE_4": lambda item_bytes: 4 * item_bytes,
}
"""By name, what the place in memory must be a multiple of, in bytes, given the bytes of an element."""
