"""The tables and sentences of the texts, made of results files."""
