"""The public functions, one module each: every command of the command line is one call of its function."""
