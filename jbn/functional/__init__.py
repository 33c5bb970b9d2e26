"""The mathematics of normalization: pure functions on arrays, public as `jbn.<name>`."""
