"""What storage.py is made of: objects, their order and history, what a write makes of them, and how it is refused.

Pure: no I/O, no clock, no tasks; nothing here knows HTTP.
"""
