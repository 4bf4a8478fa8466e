// One plot of a quantity over a setting. Each run has a mark, and each configuration of several seeds
// its mean with the 95 % t-interval. Over a number, a line joins the means of the configurations that
// differ in it alone; it and their means look as the first of them does.

const OBJECTIVE_HEIGHT = 240;
const EDGE = 5; // pixels from the frame to a mark without a value

function objectivePlot(key, quantity, width) {
  const margin = { left: 52, right: 14, top: 10, bottom: 36 };
  const axis = settingAxis(key, [margin.left + 20, width - margin.right - 20]);
  const height = OBJECTIVE_HEIGHT + axis.drop;
  margin.bottom += axis.drop;
  const factor = quantity.percent ? 100 : 1;
  const domain = quantityDomain(quantity).map((value) => value * factor);
  const range = [height - margin.bottom, margin.top];
  const position = linear(domain, range);
  const y = (value) => Math.min(Math.max(position(value * factor), range[1]), range[0]);
  const inside = (value) => y(value) === position(value * factor);
  const worst = study.objective.direction === "max" ? range[0] - EDGE : range[1] + EDGE;
  const lines = linesOver(key, axis);
  const few = lines.length <= LOOKS; // more would look alike
  const metric = study.objective.metric.replace("/", " ");
  const unit = quantity.percent ? (quantity.title ? ", points" : ", %") : "";
  const plot = svg(
    "svg",
    {
      class: "plot",
      role: "img",
      "aria-label": `${quantity.title ?? metric} over ${key}`,
      width,
      height,
      "data-key": key,
      "data-axis": axis.kind,
    },
    frame({
      width,
      height,
      margin,
      x: axis.place,
      y: position,
      xTicks: axis.ticks,
      yTicks: ticks(domain, 5),
      xLabel: `${key}${orderText(key, lines, axis)}`,
      yLabel: `${quantity.title ? "Δ " : ""}${metric}${unit}`,
      xText: axis.text,
      xDrop: axis.drop,
    }),
    quantity.title
      ? svg("path", { class: "at-zero", d: `M${margin.left},${y(0)}H${width - margin.right}` })
      : null,
    lines.map((line) => objectiveLine(line, { axis, y, inside, worst, quantity, few })),
  );
  const named = few && axis.kind !== "words" ? objectiveLegend(lines, quantity) : null;
  return html("div", { style: `width: ${width}px` }, plot, named);
}

// Group the configurations by the values of all settings but `key`: { label, members }, each member
// with its x. Configurations at one value of the setting stand beside each other.
function linesOver(key, axis) {
  const place = study.keys.indexOf(key);
  const members = study.configurations
    .map((configuration) => ({
      configuration,
      text: configuration.runs[0].settings[key],
      label: configuration.values.filter((_, i) => i !== place).join(", "),
    }))
    .filter(({ text }) => text !== undefined);
  if (members.every(({ label }) => isNumber(label))) members.sort((a, b) => a.label - b.label);
  for (const beside of Map.groupBy(members, ({ text }) => text).values()) {
    beside.forEach((member, nth) => {
      member.x = axis.place(member.text) + axis.spread(nth, beside.length);
    });
  }
  return [...Map.groupBy(members, ({ label }) => label)].map(([label, found]) => ({
    label,
    members: found.sort((a, b) => a.x - b.x),
  }));
}

// Say in which order the configurations at one word stand, if it is that of a number.
function orderText(key, lines, axis) {
  const labels = lines.map(({ label }) => label);
  if (axis.kind !== "words" || labels.length < 2 || !labels.every(isNumber)) return "";
  const other = study.keys.find((name) => name !== key);
  return ` (in each: ${other} ${labels[0]} to ${labels[labels.length - 1]})`;
}

// Hold all values, and the intervals as far as they do not dwarf these.
function quantityDomain({ runs, figures, title }) {
  const known = [...runs.filter(Number.isFinite), ...(title ? [0] : [])];
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const beyond = (high - low) / 2;
  const ends = figures
    .filter(({ half }) => half !== null)
    .flatMap(({ mean: centre, half }) => [centre - half, centre + half])
    .map((end) => Math.min(Math.max(end, low - beyond), high + beyond));
  return widened([Math.min(low, ...ends), Math.max(high, ...ends)], 1e-9, 0.05);
}

// Draw a line's runs, means and intervals. A mean belongs to all seeds: without one of them it is
// left out, and the line has a gap.
function objectiveLine({ label, members }, plot) {
  const isNumeric = plot.axis.kind !== "words";
  const look = style(members[0].configuration);
  const selected = store.get("selected");
  const means = [],
    marks = [];
  let d = "",
    pen = "M";
  for (const { configuration, x } of members) {
    const runs = configuration.runs.filter(({ index }) => selected.has(index));
    marks.push(runs.map((run) => runMark(run, x, plot)));
    const figures = plot.quantity.figures[configuration.index];
    if (runs.length < configuration.runs.length || !Number.isFinite(figures.mean)) {
      pen = "M";
      continue;
    }
    d += `${pen}${x.toFixed(1)},${plot.y(figures.mean).toFixed(1)}`;
    pen = "L";
    const { colour } = isNumeric ? look : style(configuration);
    if (figures.half !== null) {
      means.push(meanMark(configuration, x, { colour, marker: look.marker }, plot));
    }
  }
  const joined = plot.few && means.length && isNumeric;
  return svg(
    "g",
    { class: "through", "data-line": label },
    joined
      ? svg("path", { class: "line", d, stroke: look.colour, "stroke-dasharray": look.dash })
      : null,
    marks,
    plot.few ? means : null,
  );
}

// A run's value. A run that diverged or did not finish is a ⊗; without a value it is at the edge.
// A run without a partner has no difference, and no mark.
function runMark(run, x, { quantity, y, worst }) {
  const configuration = study.configurations[run.configuration];
  const value = quantity.runs[run.index];
  if (value === null && quantity.title) return null;
  const rated = study.objective.runs[run.index] !== null;
  const known = value !== null && Number.isFinite(value);
  const { colour } = style(configuration);
  const several = configuration.runs.length > 1;
  const place = known ? y(value) : worst;
  const lines = [
    runLabel(run),
    known ? quantityText(value, quantity) : null,
    rated ? null : run.divergedAt !== null ? "diverged" : run.state,
  ];
  return svg(
    "g",
    {
      class: `series objective${several && rated ? " faint" : ""}`,
      "data-run": run.index,
      "data-value": value,
      ...pointed(configuration, lines.filter(Boolean)),
    },
    svg("path", {
      class: "marker",
      d: rated ? MARKERS[0](several ? 1.8 : 4) : MARKERS[0](4.5) + MARKERS[5](3),
      transform: `translate(${x.toFixed(1)},${place.toFixed(1)})`,
      fill: rated ? colour : "none",
      stroke: colour,
    }),
  );
}

// A configuration's mean; an end of its interval that is beyond the frame has no cap.
function meanMark(configuration, x, { colour, marker }, { quantity, y, inside }) {
  const { n, mean: centre, half } = quantity.figures[configuration.index];
  const [low, high] = [centre - half, centre + half];
  const caps = [low, high].filter(inside).map((end) => `M${x - 2.5},${y(end)}h5`);
  const lines = [
    figuresText(configuration, quantity),
    "mean over seeds ± half of its 95 % t-interval",
  ];
  return svg(
    "g",
    {
      class: "series mean",
      "data-n": n,
      "data-mean": centre,
      "data-low": low,
      "data-high": high,
      ...pointed(configuration, lines),
    },
    svg("path", {
      class: "interval",
      d: `M${x},${y(low)}V${y(high)}${caps.join("")}`,
      stroke: colour,
    }),
    svg("path", {
      class: "marker",
      d: marker(3),
      transform: `translate(${x.toFixed(1)},${y(centre).toFixed(1)})`,
      fill: colour,
      stroke: colour,
    }),
  );
}

// The attributes of a mark that highlights its configuration and explains itself.
const pointed = ({ index }, lines) => ({
  "data-configuration": index,
  onpointerenter: (event) => {
    store.set("lit", index);
    showTooltip(event, lines);
  },
  onpointerleave: () => {
    store.set("lit", null);
    hideTooltip();
  },
});

// The names of the lines that join two configurations or more.
function objectiveLegend(lines, { figures }) {
  const has = ({ configuration }) => figures[configuration.index].mean !== null;
  const joined = lines.filter(({ members }) => members.filter(has).length > 1);
  if (joined.length < 2) return null;
  return html(
    "p",
    { class: "legend" },
    joined.map(({ label, members }) =>
      html("span", {}, swatch(members[0].configuration), ` ${label}`),
    ),
  );
}
