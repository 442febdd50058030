"""The interface definition, loaded at run time: ``accord.thrift`` is the one source of the wire.

The module object holds a class for every struct, enum and exception of it, and the service's
``NAME_args`` and ``NAME_result``. thriftpy2 reads the definition and writes messages; they are
read by ``binary``, which is bounded.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import thriftpy2

PATH = Path(__file__).with_name("accord.thrift")

WIRE: ModuleType = thriftpy2.load(str(PATH), module_name="accord_thrift")
