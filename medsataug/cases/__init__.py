"""Sets of cases for training: found in folders, split without leaks, cached for patches.

>>> from medsataug import cases
>>> found = cases.find("Dataset001_BrainTumour")  # doctest: +SKIP
>>> stored = cases.cached(found, "cache")  # doctest: +SKIP
>>> train, test = cases.split(stored, folds=5)[0]  # doctest: +SKIP
"""

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet
from medsataug.cases.layouts import find, layouts
from medsataug.cases.scenes import scene
from medsataug.cases.splits import split
from medsataug.cases.store import Cache, cached

__all__ = ["Cache", "Case", "CaseSet", "cached", "find", "layouts", "scene", "split"]
