"""One data set, or one kind of file, a module; each loader returns a `Source`."""
