"""Experiments on the factorial mixture prior."""
