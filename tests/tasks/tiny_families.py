"""One tiny instance or more of every family, for the laws."""

from tasks.families.autoencoder import Autoencoder
from tasks.families.bag_of_words import BagOfWords
from tasks.families.bottleneck_resnet import BottleneckResNet
from tasks.families.classical_function import ClassicalFunction
from tasks.families.click_model import ClickModel
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.graph_classifier import GraphClassifier
from tasks.families.learned_optimizer_training import LearnedOptimizerTraining
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_language_model import MLPLanguageModel
from tasks.families.mlp_mixer import MLPMixer
from tasks.families.optimizer_unroll import OptimizerUnroll
from tasks.families.quadratic import Quadratic
from tasks.families.resnet_classifier import ResNetClassifier
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.sequence_labeller import SequenceLabeller
from tasks.families.sequence_to_sequence import SequenceToSequence
from tasks.families.teacher_regression import TeacherRegression
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.variational_autoencoder import VariationalAutoencoder
from tasks.families.vision_transformer import VisionTransformer
from tasks.learned_adam import LearnedAdam
from tasks.wrappers.changing import ChangingBatch, ChangingData, SilentStart
from tasks.wrappers.delayed_gradient import DelayedGradient
from tasks.wrappers.evolution_gradient import EvolutionGradient
from tasks.wrappers.heavy_tailed_gradient import HeavyTailedGradient
from tasks.wrappers.linearly_normalized import LinearlyNormalized
from tasks.wrappers.normalized_gradient import NormalizedGradient
from tasks.wrappers.reduced_batch import ReducedBatch
from tasks.wrappers.reduced_precision import ReducedPrecision
from tasks.wrappers.reparametrized import Reparametrized
from tasks.wrappers.rescaled_loss import RescaledLoss
from tasks.wrappers.spiked_gradient import SpikedGradient
from tasks.wrappers.subsampled_gradient import SubsampledGradient
from tasks.wrappers.undisturbed import Undisturbed
from tasks.wrappers.uneven_gradient import UnevenGradient
from tasks.wrappers.zero_start import ZeroStart

FAMILIES = {
    "autoencoder": Autoencoder(widths=(6, 3), batch_size=3),
    "bag_of_words": BagOfWords(context=2, width=3, batch_size=3),
    "bottleneck_resnet": BottleneckResNet("digits", (4, 8), (1, 1), 3, batch_size=2),
    "classical_function": ClassicalFunction(function="levy", size=3),
    "click_model": ClickModel(num_fields=3, vocabulary_size=5, embedding_size=2, dense_size=3, width=4, batch_size=4),
    "conv_classifier": ConvClassifier(
        channels=(3, 2), batch_size=3, activation="tanh", norm="batch", objective="squared_error"
    ),
    "graph_classifier": GraphClassifier(width=3, num_rounds=1, batch_size=2),
    "learned_optimizer_training": LearnedOptimizerTraining(width=3, problem_size=2, unroll_steps=3, batch_size=2),
    "mlp_classifier": MLPClassifier(widths=(5, 4), batch_size=3, norm="layer", activation="gelu", dropout=0.2),
    "mlp_language_model": MLPLanguageModel(context=2, embedding_size=3, width=4, batch_size=3),
    "mlp_mixer": MLPMixer(patch_size=4, width=4, patch_mlp_width=3, channel_mlp_width=5, batch_size=2),
    "optimizer_unroll": OptimizerUnroll(Quadratic(size=3), LearnedAdam(), num_steps=3),
    "quadratic": Quadratic(size=5),
    "resnet_classifier": ResNetClassifier(channels=(2,), stride=2, batch_size=2),
    "rnn_gru": RNNLanguageModel(cell="gru", context=3, embedding_size=3, width=4, batch_size=2),
    "rnn_irnn": RNNLanguageModel(cell="irnn", context=3, embedding_size=3, width=4, batch_size=2),
    "rnn_lstm": RNNLanguageModel("python_help", "lstm", 3, 3, 4, batch_size=2, learned_start=True),
    "rnn_vanilla": RNNLanguageModel(cell="vanilla", context=3, embedding_size=3, width=4, batch_size=2),
    "sequence_labeller": SequenceLabeller(num_frames=4, frame_size=2, num_classes=3, width=3, batch_size=2),
    "sequence_to_sequence": SequenceToSequence(vocabulary_size=5, length=3, width=4, batch_size=2),
    "teacher_regression": TeacherRegression(
        input_size=3, output_size=2, teacher_width=4, teacher_norm=True, widths=(4,), norm="rms", batch_size=3
    ),
    "transformer": TransformerLanguageModel(context=3, width=4, num_heads=2, batch_size=2, head_size=3, dropout=0.1),
    "variational_autoencoder": VariationalAutoencoder(widths=(5,), latent_size=2, batch_size=3),
    "vision_transformer": VisionTransformer(patch_size=4, width=4, num_heads=2, batch_size=2),
}

SLOW = (
    "changing_batch", "changing_data", "linearly_normalized", "reparametrized_tensor", "rescaled_loss", "rnn_irnn",
    "rnn_lstm", "rnn_vanilla", "silent_start", "undisturbed", "zero_start",
)  # fmt: skip
"""Further instances of what is in the table anyway, and wrappers that leave loss and gradient alone."""

_STUDENT = FAMILIES["teacher_regression"]
WRAPPERS = {
    "linearly_normalized": LinearlyNormalized(FAMILIES["mlp_classifier"]),
    "undisturbed": Undisturbed(FAMILIES["autoencoder"]),
    "changing_batch": ChangingBatch(_STUDENT, change_step=2),
    "changing_data": ChangingData(_STUDENT, num_phases=2, phase_steps=3),
    "delayed_gradient": DelayedGradient(_STUDENT, max_steps=3),
    "evolution_gradient": EvolutionGradient(_STUDENT, num_pairs=2),
    "heavy_tailed_gradient": HeavyTailedGradient(_STUDENT),
    "normalized_gradient": NormalizedGradient(_STUDENT),
    "reduced_batch": ReducedBatch(_STUDENT),
    "reduced_precision": ReducedPrecision(_STUDENT),
    "reparametrized_global": Reparametrized(_STUDENT, "global", 1.0),
    "reparametrized_parameter": Reparametrized(_STUDENT, "parameter", 1.0),
    "reparametrized_tensor": Reparametrized(_STUDENT, "tensor", 1.0),
    "rescaled_loss": RescaledLoss(_STUDENT, 3.0, -1.0),
    "silent_start": SilentStart(_STUDENT, silent_steps=2),
    "spiked_gradient": SpikedGradient(_STUDENT),
    "subsampled_gradient": SubsampledGradient(_STUDENT, max_directions=3),
    "uneven_gradient": UnevenGradient(_STUDENT, factor=10.0),
    "zero_start": ZeroStart(TeacherRegression(input_size=3, output_size=2, teacher_width=4, widths=(), batch_size=3)),
}
CUSTOM_GRADIENTS = (
    "evolution_gradient",
    "heavy_tailed_gradient",
    "normalized_gradient",
    "reduced_precision",
    "spiked_gradient",
    "subsampled_gradient",
    "uneven_gradient",
)
