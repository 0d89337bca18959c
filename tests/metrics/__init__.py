"""What is exported and how it is written, read back by parsers that are not ours."""
