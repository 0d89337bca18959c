"""How do we follow the API server? Credentials, requests, discovery, and one reflector per kind."""
