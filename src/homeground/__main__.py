"""``python -m homeground`` is the command ``homeground``."""

import sys

from homeground.cli import main

sys.exit(main())
