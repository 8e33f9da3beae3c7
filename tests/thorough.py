"""Whether tests take all the time there is: ``make soak`` sets FOGLINE_THOROUGH."""

import os

THOROUGH = "FOGLINE_THOROUGH" in os.environ
