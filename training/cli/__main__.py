"""``python -m training.cli.main`` is ``fogline``."""

import sys

from training.cli.main import main

sys.exit(main())
