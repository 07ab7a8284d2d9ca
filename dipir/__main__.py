"""``python -m dipir`` is the same as ``dipir``."""
import sys

from dipir.cli.main import main

sys.exit(main())
