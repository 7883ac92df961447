"""Experiments on many aspects, of which some are missing (factVAE)."""
