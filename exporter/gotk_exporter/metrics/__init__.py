"""What do we export, and how is it written? The catalogue, the text formats, and the store of rendered lines. Core."""
