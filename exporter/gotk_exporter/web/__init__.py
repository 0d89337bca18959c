"""What do we serve? /metrics with content negotiation, health, readiness and a landing page."""
