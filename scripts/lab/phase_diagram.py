"""Draw where gradients of a plain net vanish or explode, in theory and as measured.

python scripts/lab/phase_diagram.py activation=tanh
"""

import argparse
from pathlib import Path

from gradflow.errors import ConfigError
from gradflow.launch import cli
from gradflow.launch.compose import compose


def main() -> None:
    """Draw the phase diagram of the activation in the overrides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="overrides, as for scripts/train.py")
    for name, symbol, values in (
        ("--weight-variances", "sigma_w^2", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        ("--bias-variances", "sigma_b^2", [0.0, 0.1, 0.2, 0.3]),
    ):
        parser.add_argument(
            name, nargs="+", type=float, default=values, help=f"{symbol} of the nets to measure"
        )
    parser.add_argument(
        "--figure",
        type=Path,
        default=Path("outputs/phase_diagram.png"),
        help="output file: .png, .svg or .pdf (default: outputs/phase_diagram.png)",
    )
    arguments = parser.parse_args()
    figure: Path = arguments.figure
    if figure.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--figure={figure}: must end in .png, .svg or .pdf")
    # The theory has no borders, hence circular padding.
    plain = ("model=plain_cnn", "model.padding=circular", "model.stem_stride=2", "norm=none")
    config = compose([*plain, "data.batch_size=64", *arguments.overrides])

    from gradflow.launch.instantiate import instantiate
    from lab.probe.phase_diagram import draw_phase_diagram, measure_points

    points = measure_points(config, arguments.weight_variances, arguments.bias_variances)
    for point in points:
        print(
            f"sigma_w^2 {point.weight_variance:g}, sigma_b^2 {point.bias_variance:g}: "
            f"{point.slope:+.3f} decades per layer"
        )
    title = f"{config.axes['activation']}, {config.model['depth']} layers"
    try:
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw_phase_diagram(instantiate(config.activation, key="activation"), points, title, figure)
    except OSError as error:
        raise ConfigError(f"--figure={figure}: {error.strerror}") from error
    print(f"figure: {figure}")


if __name__ == "__main__":
    cli.run(main)
