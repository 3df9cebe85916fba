"Inspects remote sensing images for quality."
__version__ = "0.1.0"
