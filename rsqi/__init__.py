"Inspects remote sensing images for quality."
__version__ = "0.1.0"

import sys
from types import ModuleType

_HOME = dict(Scene='scene', Grid='grid', Taxonomy='taxonomy', Config='config', Inspection='inspection', inspect_scene='pipeline', report='report', ask='dialogue',
             explore='explore', replay='replay', label='label', browse='label', gallery='label', view='viewer')
__all__ = [*_HOME, '__version__']

def __getattr__(name):
    "Import a name when it is first used, so that `import rsqi` costs nothing."
    if name not in _HOME: raise AttributeError(f"module 'rsqi' has no attribute {name!r}; it offers {', '.join(_HOME)}")
    from importlib import import_module
    return getattr(import_module(f'rsqi.{_HOME[name]}'), name)

class _Callable(ModuleType):
    "A module such as `rsqi.report` that can be called like the function it is named after."
    def __call__(self, *args, **kwargs): return getattr(self, self.__name__.rpartition('.')[2])(*args, **kwargs)

class _Package(ModuleType):
    def __setattr__(self, name, value):
        "Python puts a module here once it is imported, where people expect the function of that name: it has to be both."
        if _HOME.get(name)==name and isinstance(value, ModuleType): value.__class__ = _Callable
        super().__setattr__(name, value)

sys.modules[__name__].__class__ = _Package
