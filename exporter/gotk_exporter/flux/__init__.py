"""What do we know about each kind, and what is the truth about an object? The table of kinds and the verdict. Core."""
