"""Promises between parts that no single part can keep: names, labels and tables that have to agree."""
