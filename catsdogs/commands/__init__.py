"""The public functions, one module each, and the results that they return: a command is one call of its function."""
