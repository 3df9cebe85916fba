"Inspects remote sensing images for quality."
__version__ = "0.1.0"

_HOME = dict(Scene='scene', Grid='grid', Taxonomy='taxonomy', Config='config', Inspection='inspection', inspect_scene='pipeline', ask='dialogue')
__all__ = [*_HOME, '__version__']

def __getattr__(name):
    "Import a name when it is first used, so that `import rsqi` costs nothing."
    if name not in _HOME: raise AttributeError(f"module 'rsqi' has no attribute {name!r}; it offers {', '.join(_HOME)}")
    from importlib import import_module
    return getattr(import_module(f'rsqi.{_HOME[name]}'), name)
