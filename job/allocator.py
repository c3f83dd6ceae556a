"""step: memory that one step frees serves the next one, instead of going back to the system.

glibc maps every large block afresh, and its pages are zeroed and mapped at first touch, one by one.
A third of a step of SAGE over 620 k edges goes there: with freed blocks kept, 683 ms become 434 in
float32, and 543 become 375 in bfloat16.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let malloc take large blocks from the heap and keep what is freed; nothing where it cannot.

    A process then holds what it needed at its peak.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER)
