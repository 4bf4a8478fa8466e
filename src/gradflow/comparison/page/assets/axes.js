// Scales, ticks, and the frame of a plot.

const LETTER = 5.9; // the mean width of a letter of a label, in pixels

function linear([a, b], [from, to]) {
  const span = b - a || 1;
  return (value) => from + ((value - a) / span) * (to - from);
}

// Return about `count` round values within a domain.
function ticks([a, b], count) {
  const rough = (b - a || 1) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].find((u) => u * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(a / unit - 1e-9); i * unit <= b + unit * 1e-9; i++) found.push(i * unit);
  return found;
}

const whole = (values) => values.filter(Number.isInteger);

// Widen a domain to a span of at least `least`: a flat curve must look flat, not like noise.
function widened([a, b], least, margin = 0.04) {
  const middle = (a + b) / 2;
  const half = Math.max((b - a) / 2, least / 2) * (1 + 2 * margin);
  return [middle - half, middle + half];
}

// Draw the frame: grid lines, tick labels, the names of both axes. With `xDrop`, the height that they
// need, the labels of the x axis are slanted.
function frame({
  width,
  height,
  margin,
  x,
  y,
  xTicks,
  yTicks,
  xLabel,
  yLabel,
  xText = number,
  yText = number,
  xDrop = 0,
}) {
  const right = width - margin.right,
    bottom = height - margin.bottom;
  return svg(
    "g",
    { class: "frame", "aria-hidden": "true" },
    yTicks.map((value) => [
      svg("path", { class: "grid", d: `M${margin.left},${y(value)}H${right}` }),
      svg("text", { x: margin.left - 7, y: y(value), class: "tick end" }, yText(value)),
    ]),
    xTicks.map((value) => [
      svg("path", { class: "mark", d: `M${x(value)},${bottom}v4` }),
      xDrop
        ? svg(
            "text",
            { class: "tick end", transform: `translate(${x(value)},${bottom + 9}) rotate(-45)` },
            xText(value),
          )
        : svg("text", { x: x(value), y: bottom + 15, class: "tick middle" }, xText(value)),
    ]),
    svg("path", { class: "mark", d: `M${margin.left},${margin.top}V${bottom}H${right}` }),
    svg("text", { x: (margin.left + right) / 2, y: height - 4, class: "name middle" }, xLabel),
    svg(
      "text",
      { class: "name middle", transform: `translate(11,${(margin.top + bottom) / 2}) rotate(-90)` },
      yLabel,
    ),
  );
}
