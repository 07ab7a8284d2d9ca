"""The studio is an extra: without its packages there is nothing to test here."""
import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("starlette") else ["*"]
