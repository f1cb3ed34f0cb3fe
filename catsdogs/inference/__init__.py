"""Compute feature rows from image files: select the backbone, load the images, and compute in batches."""
