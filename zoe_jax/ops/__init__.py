"""The mathematics of the paper as plain functions of arrays: no modules, no parameters."""
