"""Triton kernels and the operators that call them."""
