"""Decode image files into resized RGB arrays."""
