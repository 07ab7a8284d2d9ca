"""An object into a photo (DiPIR). The folder is also the verb: ``from dipir import insert; insert(scene)``."""
import sys
import types


class _Verb(types.ModuleType):
    """Without this, ``dipir.insert`` would be the function until something imports a module of this folder, and the
    folder from then on."""

    def __call__(self, *args, **keywords):
        """See :func:`dipir.insert.method.insert`."""
        from dipir.insert.method import insert

        return insert(*args, **keywords)


sys.modules[__name__].__class__ = _Verb
