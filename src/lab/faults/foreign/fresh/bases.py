"""The bases of the foreign suite's fresh part."""

from __future__ import annotations

from lab.faults.foreign import data as old
from lab.faults.foreign import scores as old_scores
from lab.faults.foreign.base import Base
from lab.faults.foreign.faults import (
    BLIND,
    BRIGHT,
    DEAD,
    HUGE,
    LARGE,
    PUSHED,
    SIGMOID,
    SLOW,
    SMALL,
    STEEP,
    STUCK,
    TINY,
    ZERO,
    fast,
)
from lab.faults.foreign.fresh import data, losses, nets, scores, sequences
from lab.faults.foreign.fresh import image_nets as images
from lab.faults.foreign.optimizers import (
    adagrad,
    adam,
    adamax,
    adamw,
    lion,
    nadam,
    nesterov,
    radam,
    rmsprop,
    sgd,
)
from lab.faults.foreign.tasks import Task

_FAST = fast(1000)


def bases() -> list[Base]:
    """Return the healthy runs in the order in which a reader would look for them."""
    return [*_images(), *_vectors(), *_sequences(), *_densities_and_agents()]


def _images() -> list[Base]:
    accuracy = old_scores.accuracy
    return [
        Base("efficientnet_poly", images.efficientnet,
             Task(old.pictures, losses.poly, accuracy), nadam(3e-3),
             (SLOW, _FAST, ZERO)),
        Base("regnet_mixup", images.regnet, Task(data.mixed, losses.soft_cross_entropy, accuracy),
             nesterov(0.1), (_FAST, BLIND, DEAD)),
        Base("se_resnext_wrong_labels", images.se_resnext,
             Task(data.cut_out, losses.generalized, accuracy), adamax(5e-3),
             (SLOW, _FAST, BLIND)),
        Base("gmlp_arcface", images.CosineClassifier,
             Task(old.pictures, losses.arc_face, accuracy), adamw(3e-3),
             (SLOW, _FAST, BLIND)),
        Base("external_attention_rotations", images.RotationNet,
             Task(data.rotated, losses.temperature, accuracy), adam(2e-3),
             (SLOW, _FAST)),
        Base("all_convolutional_hinge", images.all_convolutional,
             Task(old.pictures, losses.squared_hinge, accuracy), adam(1e-3),
             (SLOW, DEAD, TINY, HUGE, ZERO, BRIGHT)),
        Base("masked_autoencoder", images.MaskedAutoencoder,
             Task(old.pictures, losses.hidden_patches, scores.hidden_patches), adamw(3e-3),
             (SLOW, _FAST, ZERO), 20),
        Base("segmentation_tversky", images.Segmenter,
             Task(data.discs, losses.tversky, scores.segmented, 16), adam(3e-3),
             (SLOW, _FAST, ZERO)),
        Base("pixel_cnn", images.GatedPixels, Task(data.stripes, losses.pixels, scores.pixels),
             adam(3e-3), (SLOW, _FAST)),
        Base("vq_vae", images.Quantized,
             Task(data.glyphs, losses.vector_quantization, old_scores.reconstructed),
             adam(3e-3), (SLOW, _FAST, DEAD)),
        Base("lenet_against_rest", images.lenet,
             Task(old.pictures, losses.against_rest, accuracy), adam(2e-3),
             (SLOW, BLIND, STUCK)),
    ]  # fmt: skip


def _vectors() -> list[Base]:
    return [
        Base("maxout_gradient_penalty", nets.maxout,
             Task(data.spirals(0.6), losses.gradient_penalty, old_scores.accuracy), sgd(0.03),
             (_FAST, BLIND, LARGE)),
        Base("point_net", lambda: nets.PointNet(2, 3),
             Task(data.clouds, losses.poly, old_scores.accuracy), adam(3e-3),
             (_FAST, BLIND, DEAD)),
        Base("siamese_distance", lambda: nets.Siamese(12),
             Task(data.distances, losses.relative_square, scores.explained), adam(2e-3),
             (_FAST, BLIND, ZERO)),
        Base("ordinal_levels", lambda: nets.Ordinal(14, 6),
             Task(data.levels, losses.cumulative, scores.level), nadam(5e-3),
             (SLOW, BLIND)),
        Base("radial_basis_expectile", lambda: nets.RadialBasis(3, 60),
             Task(data.skewed, losses.expectile, scores.expectile), adam(2e-2),
             (SLOW, _FAST, BLIND)),
        Base("tabular_transformer_cauchy", lambda: nets.TabularTransformer(10),
             Task(data.outliers, losses.cauchy, scores.explained), adamw(2e-3),
             (SLOW, _FAST, BLIND), 20),
        Base("cross_net_ranking", lambda: nets.CrossNet(14),
             Task(data.preferences, losses.ranking, scores.ranked), adagrad(0.03),
             (SLOW,)),
        Base("neural_ode", lambda: nets.NeuralODE(2),
             Task(data.swings, losses.absolute, scores.explained), adam(5e-3),
             (_FAST, BLIND, STUCK)),
        Base("weight_norm_laplace", nets.weight_normed,
             Task(data.uneven, losses.laplace_nll, scores.laplace), adam(3e-3),
             (SLOW, BLIND, LARGE)),
        Base("deep_surv_cox", nets.risk, Task(data.survival, losses.cox, scores.concordance),
             adam(2e-3), (SLOW, _FAST, BLIND)),
        Base("graph_attention", lambda: nets.GraphAttention(4, 3),
             Task(data.networks, losses.node_classes, scores.nodes), radam(1e-2),
             (SLOW, _FAST, BLIND)),
        Base("hypernetwork", nets.Hypernetwork,
             Task(data.few_shots, losses.few_shot, scores.few_shot), adam(2e-3),
             (_FAST, BLIND, DEAD)),
        Base("fourier_features", lambda: nets.FourierFeatures(3),
             Task(data.landscape, losses.charbonnier, scores.explained, 256), adam(2e-3),
             (_FAST, BLIND, DEAD)),
        Base("elu_12_absolute", lambda: nets.deep_elu(10),
             Task(data.outliers, losses.absolute, scores.explained), adam(5e-4),
             (SLOW, _FAST, SIGMOID, HUGE, ZERO, BRIGHT)),
        Base("softsign_10", lambda: nets.deep_softsign(14, 6),
             Task(data.levels, losses.squared_hinge, old_scores.accuracy), rmsprop(5e-4),
             (SLOW, _FAST, BLIND, PUSHED, SMALL, STEEP)),
    ]  # fmt: skip


def _sequences() -> list[Base]:
    return [
        Base("tcn_episodes", lambda: sequences.TemporalNet(2, 3),
             Task(data.episodes, losses.at_each_time, scores.at_each_time), adam(3e-3),
             (SLOW, BLIND, DEAD)),
        Base("wavenet_lion", sequences.WaveNet,
             Task(data.tones, losses.logistic_mixture, scores.next_sample), lion(1e-3),
             (SLOW, _FAST, ZERO)),
        Base("gru_reversal", lambda: sequences.Translator(7),
             Task(data.reversals, losses.teacher_forcing, scores.translated), adam(5e-3),
             (SLOW, BLIND)),
        Base("pointer_net", lambda: sequences.Pointer(5),
             Task(data.maxima, losses.poly, old_scores.accuracy), adam(5e-3),
             (STUCK,)),
        Base("random_field", lambda: sequences.Tagger(4, 4),
             Task(data.tagged, losses.random_field, scores.tags), adam(5e-3),
             (SLOW, BLIND, STUCK)),
        Base("neural_operator", nets.neural_operator,
             Task(data.fields, losses.relative, scores.explained), adam(3e-3),
             (SLOW, BLIND, ZERO)),
        Base("skip_gram", lambda: nets.SkipGram(data.WORDS, 16),
             Task(data.contexts, losses.negative_sampling, scores.in_context, 256),
             adam(2e-2), (SLOW, _FAST, ZERO)),
    ]  # fmt: skip


def _densities_and_agents() -> list[Base]:
    return [
        Base("energy_score_matching", nets.Energy,
             Task(data.rings, losses.score_matching, scores.denoised, 256), adam(1e-2),
             (SLOW, _FAST)),
        Base("mixture_density", nets.mixture_density,
             Task(data.inverse, losses.mixture_nll, scores.mixture, 256), adam(1e-2),
             (SLOW, _FAST, STUCK)),
        Base("autoregressive_flow", lambda: nets.AutoregressiveFlow(6),
             Task(data.cascade, losses.autoregressive_nll, scores.autoregressive, 128),
             adam(1e-2), (SLOW, _FAST, LARGE)),
        Base("noise_contrastive", nets.spectral_normed,
             Task(data.partners, losses.contrastive_estimation, scores.partners), adam(3e-3),
             (SLOW, _FAST)),
        Base("gaussian_policy", nets.GaussianPolicy,
             Task(data.control, losses.policy_gradient, scores.explained), adam(1e-2),
             (_FAST, BLIND, STUCK)),
    ]  # fmt: skip
