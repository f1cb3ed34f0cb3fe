"""Decode image files into resized RGB arrays, and encode them as PNG."""
