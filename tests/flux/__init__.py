"""Tests of gotk_exporter.flux: objects as the API server sends them go in, lines of text come out."""
