"""``python -m dipir`` is the same as ``dipir``."""
import os
import sys

# -m puts the current folder first, where a yaml.py or ctypes.py would be imported instead of the real one.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if sys.path and os.path.abspath(sys.path[0]) == os.getcwd() != _HOME:
    del sys.path[0]

from dipir.cli.main import main  # noqa: E402

sys.exit(main())
