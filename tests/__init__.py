"""Tests of gotk-exporter; they mirror the package, and ``peers`` holds the real programs that they talk to."""
