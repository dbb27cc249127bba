"""``python -m entropy_mech`` is the command line."""

import sys

from entropy_mech.cli import main

if __name__ == "__main__":
    sys.exit(main())
