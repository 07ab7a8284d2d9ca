"""Settings are in setup.cfg. Here: what the package reads at run time goes into the wheel, as ``dipir/data``.

The folders of the checkout stay the source of truth; an editable install reads them where they are.
"""
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("configs", "scenes", "assets/demo", "assets/priors", "assets/manifest.yaml")


class BuildWithData(build_py):
    """Copies ``SHIPPED`` beside the modules."""

    def run(self) -> None:
        super().run()
        for name in () if self.editable_mode else SHIPPED:
            top = Path(name)
            for file in [top] if top.is_file() else sorted(f for f in top.rglob("*") if f.is_file()):
                target = Path(self.build_lib, "dipir", "data", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithData})
