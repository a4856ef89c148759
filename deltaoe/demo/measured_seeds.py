"""Numbers of the demo over render seeds, 0 … 1, by ``python benchmarks/demo.py --write``."""

from __future__ import annotations

COMMAND = "python benchmarks/demo.py"
SEEDS = (1, 2, 3, 4, 5)
RESULTS = {
    "zero-shot": {
        "accuracy, photo": (0.8125, 0.875, 0.8594, 0.7865, 0.8594),
        "accuracy, sketch": (0.8177, 0.7917, 0.7917, 0.7969, 0.8229),
        "accuracy, cartoon (new style)": (0.8229, 0.8698, 0.8438, 0.8438, 0.849),
        "AUROC against other objects (near)": (0.8017, 0.8399, 0.8325, 0.7962, 0.8123),
        "AUROC against patterns (far)": (0.8615, 0.8625, 0.8688, 0.8362, 0.8459),
        "AUROC of cartoon against other objects": (0.7783, 0.8119, 0.7999, 0.7919, 0.7522),
        "AUROC of cartoon against patterns": (0.8409, 0.8434, 0.8413, 0.8345, 0.8),
        "called unknown: your styles (false alarms)": (0.0469, 0.0469, 0.0443, 0.0807, 0.0599),
        "called unknown: cartoon (false alarms)": (0.0573, 0.0365, 0.0573, 0.0573, 0.0625),
        "called unknown: other objects": (0.2429, 0.3, 0.2857, 0.3429, 0.2857),
        "called unknown: patterns": (0.4444, 0.3778, 0.4611, 0.45, 0.4222),
    },
    "with images": {
        "accuracy, photo": (0.8125, 0.875, 0.8594, 0.7865, 0.8594),
        "accuracy, sketch": (0.8229, 0.7917, 0.7917, 0.8021, 0.8229),
        "accuracy, cartoon (new style)": (0.8229, 0.8698, 0.8438, 0.8438, 0.8438),
        "AUROC against other objects (near)": (0.8604, 0.8806, 0.8984, 0.8724, 0.8782),
        "AUROC against patterns (far)": (0.9999, 0.9914, 0.9989, 0.9944, 0.9896),
        "AUROC of cartoon against other objects": (0.7542, 0.8198, 0.7538, 0.791, 0.7549),
        "AUROC of cartoon against patterns": (0.9933, 0.993, 0.9931, 0.9933, 0.9943),
        "called unknown: your styles (false alarms)": (0.0443, 0.0469, 0.0365, 0.0312, 0.0495),
        "called unknown: cartoon (false alarms)": (0.0938, 0.0417, 0.1302, 0.0417, 0.0938),
        "called unknown: other objects": (0.4238, 0.4429, 0.5238, 0.3619, 0.4476),
        "called unknown: patterns": (1.0, 1.0, 1.0, 0.9944, 0.9944),
    },
    "CoOp": {
        "accuracy, photo": (0.8229, 0.8698, 0.8802, 0.7969, 0.8698),
        "accuracy, sketch": (0.8646, 0.8073, 0.8281, 0.8177, 0.8385),
        "accuracy, cartoon (new style)": (0.8333, 0.875, 0.849, 0.8385, 0.8802),
        "AUROC against other objects (near)": (0.8313, 0.8784, 0.7267, 0.8384, 0.8765),
        "AUROC against patterns (far)": (0.9336, 0.8065, 0.7274, 0.8451, 0.6773),
        "AUROC of cartoon against other objects": (0.7117, 0.8796, 0.6752, 0.8302, 0.8634),
        "AUROC of cartoon against patterns": (0.8688, 0.7973, 0.6741, 0.8377, 0.6327),
        "called unknown: your styles (false alarms)": (0.0312, 0.0443, 0.0495, 0.0521, 0.0469),
        "called unknown: cartoon (false alarms)": (0.1458, 0.0208, 0.0729, 0.0469, 0.0469),
        "called unknown: other objects": (0.3952, 0.4143, 0.1095, 0.4095, 0.3714),
        "called unknown: patterns": (0.7278, 0.2167, 0.1389, 0.3333, 0.1333),
    },
    "deltaoe (default)": {
        "accuracy, photo": (0.8177, 0.8646, 0.8594, 0.8073, 0.875),
        "accuracy, sketch": (0.849, 0.8698, 0.8646, 0.8906, 0.8698),
        "accuracy, cartoon (new style)": (0.8438, 0.8802, 0.8438, 0.8385, 0.8125),
        "AUROC against other objects (near)": (0.8593, 0.863, 0.8802, 0.8387, 0.8686),
        "AUROC against patterns (far)": (0.9957, 0.996, 0.9994, 0.997, 0.9959),
        "AUROC of cartoon against other objects": (0.8187, 0.7863, 0.7867, 0.7676, 0.6736),
        "AUROC of cartoon against patterns": (0.9925, 0.9971, 0.9997, 0.989, 0.9895),
        "called unknown: your styles (false alarms)": (0.0469, 0.0339, 0.0286, 0.0599, 0.0547),
        "called unknown: cartoon (false alarms)": (0.0521, 0.0677, 0.0365, 0.0521, 0.1562),
        "called unknown: other objects": (0.3952, 0.3143, 0.3762, 0.3333, 0.381),
        "called unknown: patterns": (1.0, 1.0, 1.0, 0.9944, 1.0),
    },
}
