"""What the exporter costs: ``make bench``. Nothing here is a test; figures are compared within one run."""
