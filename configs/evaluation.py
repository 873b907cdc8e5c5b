"""Presets of evaluation."""

from configs.command_line import Preset
from configs.evaluation_names import NamedEvaluation

DEFAULT = "standard"
"""The preset that is used if the command names none."""

PRESETS = {
    "demo": Preset(
        "Minutes on two cores: the demo suite against tuned baselines, two seeds.",
        NamedEvaluation(suite="demo", num_seeds=2, stretch=2),
    ),
    "laptop": Preset(
        "Tens of minutes on two cores: the demo suite with five seeds.",
        NamedEvaluation(suite="demo", num_seeds=5, num_tuning_seeds=2),
    ),
    DEFAULT: Preset(
        "The default without a name: three seeds, adam at 15 rates; choose --optimizers and --suite.",
        NamedEvaluation(),
    ),
    "holdout": Preset(
        "Hours on two cores: the strongest baselines on holdout_small, three seeds.",
        NamedEvaluation(
            suite="holdout_small",
            optimizers=(
                "adam",
                "nadamw_cosine@25",
                "schedule_free_adamw",
                "prodigy",
                "prodigy_cosine",
                "dog_averaged",
            ),
        ),
    ),
    "velodrome": Preset(
        "Hours on a core: VeLO's test on 83 held-out tasks, sorted speed-ups over tuned Adam; add --weights for Celo.",
        NamedEvaluation(
            suite="velodrome",
            optimizers=(
                "velo",
                "light",
                "prodigy_cosine",
                "nadamw_cosine@25",
                "soap_default=soap@1",
                "soap",
                "adam",
            ),
        ),
    ),
    "meta_valid": Preset(
        "Tens of minutes on a core: what weights are chosen by, meta_valid over Adam at 1e-3; add --weights.",
        # With three seeds one task alone has moved the mean by 2 %.
        NamedEvaluation(suite="meta_valid", optimizers=("adam@1", "velo", "untrained"), num_seeds=8, stretch=1),
    ),
    "crowded_valley": Preset(
        "2007.01547 on its quadratic: fourteen optimizers untuned, ten seeds; @25, @50 or @75 tunes one.",
        NamedEvaluation(
            suite="crowded_valley",
            optimizers=tuple(
                f"{name}@1"
                for name in (
                    "adam", "amsbound", "amsgrad", "adabound", "adadelta", "adagrad", "lookahead_sgd",
                    "lookahead_radam", "sgd_momentum", "sgd_nesterov", "nadamw", "radam", "rmsprop", "sgd",
                )
            ),
            num_seeds=10,
            stretch=1,
        ),
    ),
}  # fmt: skip
