"""Timings and memory, of this package alone and beside the original."""
