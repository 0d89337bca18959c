"""What apiserver.py is made of: from requests to calls to answers and streams, who may, what goes wrong on demand.

Handlers are synchronous, from a call to an answer; only streams and watches wait.
"""
