"""Write networks and images in the forms that other programs read."""
