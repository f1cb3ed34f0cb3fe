"""Export networks and images in formats that other programs read."""
