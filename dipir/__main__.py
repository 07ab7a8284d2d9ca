"""``python -m dipir`` is the same as ``dipir``."""
import sys

from dipir.apps.cli import main

sys.exit(main())
