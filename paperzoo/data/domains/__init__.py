"""Pairs of a labelled source and an unlabelled target."""
