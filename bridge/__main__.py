"""`python -m bridge` runs the same program as `dramatiq-bridge`."""

import sys

from bridge.cli import main

sys.exit(main())
