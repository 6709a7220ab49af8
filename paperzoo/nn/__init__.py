"""Layers that two or more papers use."""
