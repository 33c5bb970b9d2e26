"""Data sets that others publish as files: listed, found on the disk, verified, downloaded."""
