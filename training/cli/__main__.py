"""``python -m training.cli`` is ``fogline``."""

import sys

from training.cli.main import main

sys.exit(main())
