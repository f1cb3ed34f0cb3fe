"""Find images in folders and zips, and read them in place.

``__init__.pyi`` lists its names, each of which is imported at its first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
