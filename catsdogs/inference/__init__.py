"""Compute feature rows from image files: which backbone, how images are loaded, and in which batches."""
