"""What a scraper gets over HTTP, from the body's bytes to a real Prometheus that reads them."""
