"""`python -m zkcore`: see `zkcore/cli/main.py`."""

from __future__ import annotations

import sys

from zkcore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
