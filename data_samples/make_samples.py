"""Generate the synthetic samples of this folder.

They are a brain MRI, a CT series, a satellite scene, and twenty small volumes to train on.
Everything is drawn from analytic shapes and seeded noise; no patient or sensor data is involved.
Run ``python make_samples.py``: files are written next to the script, the same bytes each time.
"""

from __future__ import annotations

from pathlib import Path

from _abdomen import make_ct
from _brain import make_mri
from _cohort import make_cohort
from _scene import make_scene

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    make_mri(HERE / "mri")
    make_ct(HERE / "ct")
    make_scene(HERE / "multispectral")
    make_cohort(HERE / "cohort")
