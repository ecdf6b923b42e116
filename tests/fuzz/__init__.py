"""Damaged and hostile files by the thousand: nothing may crash, hang, take all memory, or change a value in silence.

`python -m tests.fuzz` runs them; each case follows from its seed, its kind and its number alone.
"""
