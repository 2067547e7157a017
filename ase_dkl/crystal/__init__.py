"""What stands still: the reference crystal, its symmetry, and how structures are mapped onto it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
