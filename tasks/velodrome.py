"""The tasks of `velodrome`: 83, sampled once with a fixed seed by `benchmarks/sample_velodrome.py` and frozen here.

Modelled on the VeLOdrome of the VeLO paper (2211.09760), in sizes for a CPU core. Don't change the table: results would
no longer be comparable. No mixture has these sizes or these stored data. Three kinds of task, `graph`, `bottleneck` and
`unroll`, are in no mixture that meta-training uses by default.
"""

from tasks.families.autoencoder import Autoencoder
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
from tasks.family import TaskFamily
from tasks.learned_adam import LearnedAdam
from tasks.learned_mlp import LearnedMLP

TASKS: tuple[tuple[str, TaskFamily, int], ...] = (
    ("v01_mlp_china", MLPClassifier(dataset="china", widths=(48, 48, 48, 48, 48), activation="gelu", initializer="glorot_normal", norm="layer", batch_size=20), 1000),
    ("v02_mlp_china", MLPClassifier(dataset="china", widths=(12, 12, 12), activation="tanh", batch_size=24, objective="squared_error"), 1000),
    ("v03_mlp_shapes", MLPClassifier(dataset="shapes", widths=(96,), activation="silu", initializer="small_normal", norm="rms", batch_size=24), 1000),
    ("v04_mlp_shapes", MLPClassifier(dataset="shapes", widths=(96, 96, 96, 96, 96), activation="silu", initializer="glorot_normal", norm="batch", batch_size=40), 3000),
    ("v05_mlp_wine", MLPClassifier(dataset="wine", widths=(40, 40, 40), activation="gelu", initializer="lecun_normal", batch_size=12), 1000),
    ("v06_mlp_shapes", MLPClassifier(dataset="shapes", widths=(40, 40, 40, 40, 40), activation="leaky_relu", norm="rms", batch_size=40), 1000),
    ("v07_mlp_breast_cancer", MLPClassifier(dataset="breast_cancer", widths=(80, 80, 80, 80, 80), activation="silu", initializer="lecun_normal", norm="rms", batch_size=12), 3000),
    ("v08_mlp_china", MLPClassifier(dataset="china", widths=(96, 96, 96, 96, 96, 96, 96, 96), activation="gelu", norm="layer", batch_size=12), 500),
    ("v09_mlp_wine", MLPClassifier(dataset="wine", widths=(80, 80, 80, 80, 80), activation="tanh", norm="rms", batch_size=48, objective="squared_error"), 1000),
    ("v10_conv_china", ConvClassifier(dataset="china", channels=(6, 12), stride=2, activation="leaky_relu", initializer="lecun_normal", norm="batch", batch_size=20), 500),
    ("v11_conv_china", ConvClassifier(dataset="china", channels=(12, 12, 20), kernel_size=5, stride=2, activation="silu", initializer="glorot_normal", batch_size=20), 3000),
    ("v12_conv_shapes", ConvClassifier(dataset="shapes", channels=(6, 10, 20), kernel_size=5, stride=2, activation="silu", batch_size=20), 500),
    ("v13_conv_china", ConvClassifier(dataset="china", channels=(6, 12, 12, 20), stride=2, activation="leaky_relu", initializer="lecun_normal", batch_size=24), 500),
    ("v14_conv_china", ConvClassifier(dataset="china", channels=(6, 6, 10, 20), stride=2, activation="leaky_relu", norm="rms", batch_size=12), 1000),
    ("v15_conv_china", ConvClassifier(dataset="china", channels=(6, 6, 20), stride=2, activation="leaky_relu", norm="rms", batch_size=24, objective="squared_error"), 2000),
    ("v16_resnet_china", ResNetClassifier(dataset="china", channels=(10, 20), stride=2, initializer="lecun_normal", batch_size=12, norm="rms"), 1000),
    ("v17_resnet_china", ResNetClassifier(dataset="china", channels=(6, 12), blocks_per_stage=2, stride=2, initializer="glorot_normal", batch_size=10, norm="rms"), 1000),
    ("v18_resnet_shapes", ResNetClassifier(dataset="shapes", channels=(6, 12), blocks_per_stage=2, stride=2, initializer="lecun_normal", batch_size=20, norm="batch"), 500),
    ("v19_resnet_china", ResNetClassifier(dataset="china", channels=(12, 24), blocks_per_stage=2, stride=2, batch_size=12, norm="rms"), 2000),
    ("v20_bottleneck_shapes", BottleneckResNet(dataset="shapes", channels=(12, 24), blocks=(1, 1), first_channels=12, max_pool=False, batch_size=24), 1000),
    ("v21_bottleneck_shapes", BottleneckResNet(dataset="shapes", channels=(12, 24), blocks=(1, 1), first_channels=12, max_pool=False, batch_size=12), 1000),
    ("v22_vit_china", VisionTransformer(dataset="china", patch_size=4, width=12, num_heads=3, depth=3, batch_size=12), 1000),
    ("v23_vit_china", VisionTransformer(dataset="china", patch_size=4, width=12, num_heads=1, initializer="glorot_normal", batch_size=20), 2000),
    ("v24_vit_china", VisionTransformer(dataset="china", patch_size=3, width=48, num_heads=1, depth=2, initializer="glorot_normal", batch_size=20), 2000),
    ("v25_vit_china", VisionTransformer(dataset="china", patch_size=3, width=24, num_heads=1, depth=3, initializer="glorot_normal", batch_size=20), 2000),
    ("v26_mixer_china", MLPMixer(dataset="china", patch_size=4, width=10, patch_mlp_width=20, channel_mlp_width=40, initializer="glorot_normal", batch_size=12), 3000),
    ("v27_mixer_china", MLPMixer(dataset="china", patch_size=4, width=20, patch_mlp_width=6, channel_mlp_width=48, depth=3, initializer="glorot_normal", batch_size=20), 1000),
    ("v28_mixer_shapes", MLPMixer(dataset="shapes", patch_size=5, width=12, patch_mlp_width=10, channel_mlp_width=40, depth=2, initializer="he_normal", batch_size=12), 1000),
    ("v29_mixer_china", MLPMixer(dataset="china", width=6, patch_mlp_width=10, channel_mlp_width=48, depth=3, initializer="he_normal", batch_size=20), 1000),
    ("v30_autoencoder_shapes", Autoencoder(dataset="shapes", widths=(80, 40), activation="gelu", initializer="he_normal", batch_size=96), 2000),
    ("v31_autoencoder_china", Autoencoder(dataset="china", widths=(48, 24), activation="tanh", initializer="he_normal", batch_size=24), 1000),
    ("v32_autoencoder_shapes", Autoencoder(dataset="shapes", widths=(48,), activation="gelu", batch_size=40), 1000),
    ("v33_autoencoder_china", Autoencoder(dataset="china", widths=(80, 40), activation="tanh", batch_size=20), 2000),
    ("v34_autoencoder_china", Autoencoder(dataset="china", widths=(80, 40), initializer="he_normal", batch_size=20), 3000),
    ("v35_autoencoder_china", Autoencoder(dataset="china", widths=(48,), activation="gelu", batch_size=96), 1000),
    ("v36_vae_china", VariationalAutoencoder(dataset="china", widths=(40, 40), latent_size=12, activation="leaky_relu", batch_size=40), 2000),
    ("v37_vae_shapes", VariationalAutoencoder(dataset="shapes", widths=(20,), latent_size=12, activation="gelu", batch_size=40), 2000),
    ("v38_vae_shapes", VariationalAutoencoder(dataset="shapes", widths=(80,), latent_size=6, activation="silu", batch_size=12), 1000),
    ("v39_vae_china", VariationalAutoencoder(dataset="china", widths=(12, 12), latent_size=6, activation="gelu", batch_size=40), 3000),
    ("v40_vae_china", VariationalAutoencoder(dataset="china", widths=(48,), latent_size=3, initializer="lecun_normal", batch_size=96), 3000),
    ("v41_mlp_text_python_source", MLPLanguageModel(dataset="python_source", context=3, embedding_size=10, width=80, activation="sigmoid", initializer="he_normal", batch_size=20), 500),
    ("v42_mlp_text_python_source", MLPLanguageModel(dataset="python_source", context=5, embedding_size=12, width=48, activation="sigmoid", initializer="small_normal", batch_size=20), 3000),
    ("v43_mlp_text_python_bytes", MLPLanguageModel(dataset="python_bytes", context=5, embedding_size=24, width=20, activation="silu", initializer="he_normal", batch_size=20), 2000),
    ("v44_mlp_text_python_bytes", MLPLanguageModel(dataset="python_bytes", context=3, embedding_size=10, width=96, activation="relu", initializer="small_normal", batch_size=40), 2000),
    ("v45_rnn_python_bytes", RNNLanguageModel(dataset="python_bytes", cell="irnn", context=12, embedding_size=12, width=48, initializer="he_normal", batch_size=10), 1000),
    ("v46_rnn_unicode_names", RNNLanguageModel(dataset="unicode_names", cell="lstm", context=12, embedding_size=6, width=20, initializer="glorot_normal", batch_size=12), 3000),
    ("v47_rnn_python_bytes", RNNLanguageModel(dataset="python_bytes", cell="vanilla", context=10, embedding_size=10, width=24, initializer="glorot_normal", batch_size=10, learned_start=True), 3000),
    ("v48_rnn_python_bytes", RNNLanguageModel(dataset="python_bytes", cell="lstm", context=20, embedding_size=10, width=24, initializer="glorot_normal", batch_size=20), 2000),
    ("v49_rnn_python_bytes", RNNLanguageModel(dataset="python_bytes", context=12, embedding_size=6, width=40, batch_size=12), 3000),
    ("v50_rnn_python_source", RNNLanguageModel(dataset="python_source", cell="vanilla", context=20, embedding_size=20, width=24, initializer="he_normal", batch_size=12), 3000),
    ("v51_transformer_modular_addition", TransformerLanguageModel(dataset="modular_addition", context=24, width=12, num_heads=1, depth=3, initializer="he_normal", batch_size=6), 2000),
    ("v52_transformer_python_source", TransformerLanguageModel(dataset="python_source", context=24, width=24, num_heads=3, depth=3, batch_size=10), 3000),
    ("v53_transformer_python_source", TransformerLanguageModel(dataset="python_source", context=10, width=48, num_heads=1, initializer="he_normal", batch_size=12, dropout=0.1), 2000),
    ("v54_transformer_unicode_names", TransformerLanguageModel(dataset="unicode_names", context=10, width=24, num_heads=1, depth=2, initializer="he_normal", batch_size=6), 500),
    ("v55_transformer_python_bytes", TransformerLanguageModel(dataset="python_bytes", context=12, width=24, num_heads=1, initializer="he_normal", batch_size=12), 1000),
    ("v56_transformer_python_bytes", TransformerLanguageModel(dataset="python_bytes", context=10, width=12, num_heads=3, depth=3, initializer="glorot_normal", batch_size=10, dropout=0.1), 1000),
    ("v57_labeller", SequenceLabeller(cell="lstm", num_frames=24, frame_size=6, num_classes=12, width=40, initializer="glorot_normal", batch_size=12), 500),
    ("v58_labeller", SequenceLabeller(num_frames=10, frame_size=10, num_classes=12, width=40, batch_size=20), 2000),
    ("v59_labeller", SequenceLabeller(cell="lstm", num_frames=20, frame_size=10, num_classes=3, width=20, initializer="glorot_normal", batch_size=20), 2000),
    ("v60_labeller", SequenceLabeller(cell="lstm", num_frames=24, frame_size=12, num_classes=3, width=24, initializer="glorot_normal", batch_size=10), 1000),
    ("v61_translation", SequenceToSequence(vocabulary_size=20, length=3, width=12, num_heads=1, batch_size=10), 1000),
    ("v62_translation", SequenceToSequence(vocabulary_size=40, length=5, width=24, num_heads=3, initializer="he_normal", batch_size=12), 1000),
    ("v63_translation", SequenceToSequence(vocabulary_size=40, length=6, width=48, num_heads=1, batch_size=12), 2000),
    ("v64_translation", SequenceToSequence(vocabulary_size=40, length=3, width=12, num_heads=1, initializer="glorot_normal", batch_size=12), 1000),
    ("v65_click", ClickModel(num_fields=3, vocabulary_size=384, embedding_size=3, dense_size=12, width=20, activation="tanh", batch_size=12), 500),
    ("v66_click", ClickModel(num_fields=6, vocabulary_size=384, embedding_size=6, dense_size=5, width=10, activation="tanh", batch_size=96), 500),
    ("v67_click", ClickModel(num_fields=3, vocabulary_size=100, embedding_size=3, dense_size=12, width=6, activation="gelu", initializer="glorot_normal", batch_size=96), 2000),
    ("v68_click", ClickModel(num_fields=5, vocabulary_size=384, embedding_size=3, dense_size=5, width=12, activation="tanh", initializer="glorot_normal", batch_size=20), 1000),
    ("v69_teacher", TeacherRegression(input_size=12, output_size=6, teacher_width=24, teacher_depth=3, teacher_activation="gelu", teacher_norm=True, widths=(40, 40), initializer="he_normal", batch_size=96, objective="huber"), 500),
    ("v70_teacher", TeacherRegression(input_size=6, output_size=6, teacher_width=24, teacher_activation="silu", teacher_norm=True, widths=(12, 12, 12), batch_size=24), 3000),
    ("v71_teacher", TeacherRegression(input_size=10, output_size=1, teacher_width=12, teacher_depth=1, teacher_activation="gelu", widths=(56, 56, 56, 56, 56), initializer="he_normal", norm="rms", batch_size=24), 1000),
    ("v72_teacher", TeacherRegression(input_size=24, output_size=6, teacher_width=24, teacher_activation="relu", widths=(12, 12, 12, 12, 12), activation="tanh", initializer="glorot_normal", norm="batch", batch_size=40), 3000),
    ("v73_teacher", TeacherRegression(input_size=20, output_size=6, teacher_width=24, teacher_activation="relu", widths=(20, 20, 20, 20, 20), activation="silu", initializer="glorot_normal", batch_size=96), 1000),
    ("v74_graph_random_graphs", GraphClassifier(width=20, activation="leaky_relu", batch_size=12), 1000),
    ("v75_graph_random_graphs", GraphClassifier(width=20, num_rounds=5, activation="silu", initializer="glorot_normal", batch_size=10), 1000),
    ("v76_graph_random_graphs", GraphClassifier(width=10, num_rounds=5, activation="leaky_relu", initializer="he_normal", batch_size=10), 500),
    ("v77_learned_optimizer", LearnedOptimizerTraining(width=24, depth=2, activation="leaky_relu", problem_size=5, unroll_steps=6, batch_size=5), 1000),
    ("v78_learned_optimizer", LearnedOptimizerTraining(width=6, depth=2, activation="silu", initializer="he_normal", problem_size=6, unroll_steps=10, batch_size=5), 500),
    ("v79_learned_optimizer", LearnedOptimizerTraining(width=24, activation="gelu", initializer="he_normal", problem_size=10, unroll_steps=10, batch_size=5), 2000),
    ("v80_unroll_iris", OptimizerUnroll(family=MLPClassifier(dataset="iris", widths=(10,), batch_size=12), optimizer=LearnedAdam(), num_steps=6), 500),
    ("v81_unroll_shapes", OptimizerUnroll(family=MLPClassifier(dataset="shapes", widths=(10,), batch_size=12), optimizer=LearnedMLP(width=12, depth=1), num_steps=6), 3000),
    ("v82_quadratic", Quadratic(size=20, num_reflections=3), 3000),
    ("v83_function", ClassicalFunction(function="zakharov", size=40), 1000),
)  # fmt: skip
"""(name, family, number of steps); the name of number 24 begins with v24."""
