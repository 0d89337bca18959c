"""``python -m gotk_exporter``."""

import sys

from gotk_exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
