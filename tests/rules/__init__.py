"""Rules over what the exporter serves, run by promtool and by Prometheus."""
