"""The public functions, one module each, and the results that they return."""
