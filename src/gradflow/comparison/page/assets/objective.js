// The objective over each setting that differs: a real axis for numbers, a strip for words. One mark
// per run; a run that diverged or did not finish has no value and stands at the worse end.

const OBJECTIVE_HEIGHT = 190;
const LOG_FROM = 20; // from this ratio of the largest to the smallest, the axis is logarithmic

function setUpObjective() {
  const keys = objectiveKeys();
  byId("objective").hidden = !keys.length;
  if (!keys.length) return;
  const { metric } = study.objective;
  const better = study.objective.direction === "max" ? "higher" : "lower";
  const body = panel(
    "objective",
    `${metric} over each setting`,
    `One mark per run; ${better} is better. A × at the edge is a run that diverged or did not finish.`,
  );
  const grid = html("div", { class: "objectives" });
  body.append(grid);
  const draw = () => {
    const selected = store.get("selected");
    const runs = study.runs.filter((run) => selected.has(run.index));
    const width = objectiveWidth(grid);
    grid.replaceChildren(...keys.map((key) => objectivePlot(key, runs, width)));
  };
  store.on(["selected", "width"], draw);
  draw();
}

// The settings that tell configurations apart; none unless two runs have an objective.
function objectiveKeys() {
  const rated = study.runs.filter((run) => run.objective !== null);
  if (!study.objective || rated.length < 2) return [];
  return study.keys.filter((key) => study.runs.some((run) => key in run.settings));
}

// As many plots beside each other as fit with 220 pixels each.
function objectiveWidth(grid) {
  const across = Math.max(1, Math.floor(grid.clientWidth / 236));
  return Math.floor((grid.clientWidth - 16 * (across - 1)) / across);
}

function objectivePlot(key, runs, width) {
  const margin = { left: 52, right: 10, top: 10, bottom: 36 };
  const factor = study.objective.percent ? 100 : 1;
  const known = study.runs.flatMap((run) => run.objective ?? []).map((value) => value * factor);
  const yDomain = widened([Math.min(...known), Math.max(...known)], 1e-9, 0.08);
  const y = linear(yDomain, [OBJECTIVE_HEIGHT - margin.bottom, margin.top]);
  const worst =
    study.objective.direction === "max" ? OBJECTIVE_HEIGHT - margin.bottom - 5 : margin.top + 5;
  const axis = settingAxis(key, [margin.left + 12, width - margin.right - 12]);
  const plot = svg(
    "svg",
    {
      class: "plot",
      role: "img",
      "aria-label": `${study.objective.metric} over ${key}`,
      width,
      height: OBJECTIVE_HEIGHT,
      "data-key": key,
      "data-axis": axis.kind,
    },
    frame({
      width,
      height: OBJECTIVE_HEIGHT,
      margin,
      x: axis.place,
      y,
      xTicks: axis.ticks,
      yTicks: ticks(yDomain, 4),
      xLabel: key,
      yLabel: study.objective.metric.split("/").pop() + (study.objective.percent ? ", %" : ""),
      xText: axis.text,
    }),
  );
  const placed = new Map(); // how many marks a word has, which stand beside each other
  for (const run of runs) {
    const text = run.settings[key];
    if (text === undefined) continue;
    const nth = placed.get(text) ?? 0;
    placed.set(text, nth + 1);
    const x = axis.place(axis.at(text)) + axis.spread(nth);
    plot.append(objectiveMark(run, x, run.objective, y, factor, worst));
  }
  return plot;
}

function objectiveMark(run, x, value, y, factor, worst) {
  const configuration = study.configurations[run.configuration];
  const { colour } = style(configuration);
  const shape = value === null ? MARKERS[5](4) : MARKERS[0](4);
  const place = value === null ? worst : y(value * factor);
  const lines = [
    runLabel(run),
    value === null
      ? (run.divergedAt !== null ? "diverged" : run.state)
      : `${study.objective.metric} ${number(value * factor, 4)}${study.objective.percent ? " %" : ""}`,
  ];
  return svg(
    "g",
    {
      class: "series objective",
      "data-run": run.index,
      "data-configuration": run.configuration,
      "data-value": value,
      onpointerenter: (event) => {
        store.set("lit", run.configuration);
        showTooltip(event, lines);
      },
      onpointerleave: () => {
        store.set("lit", null);
        hideTooltip();
      },
    },
    svg("path", {
      class: "marker",
      d: shape,
      transform: `translate(${x.toFixed(1)},${place.toFixed(1)})`,
      fill: colour,
      stroke: colour,
    }),
  );
}

// The x axis of a setting: { kind, at(text), place, spread(nth), ticks, text }. A number's marks stand
// at the number; those of a word are spread over up to half of its share of the axis.
function settingAxis(key, range) {
  const texts = [...new Set(study.runs.map((run) => run.settings[key]).filter(Boolean))];
  const values = texts.map(Number);
  if (values.every(Number.isFinite)) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (low > 0 && high / low >= LOG_FROM) {
      const domain = [Math.log10(low), Math.log10(high)];
      const decades = whole(ticks(domain, 4));
      return {
        kind: "log",
        at: (text) => Math.log10(Number(text)),
        place: linear(domain, range),
        spread: () => 0,
        ticks: decades.length > 1 ? decades : ticks(domain, 3),
        text: (value) => number(10 ** value, 2),
      };
    }
    const found = linear([low, high], range);
    const few = values.length <= 5 ? values : ticks([low, high], 4);
    return {
      kind: "linear",
      at: Number,
      place: found,
      spread: () => 0,
      ticks: few,
      text: (value) => number(value, 3),
    };
  }
  const share = (range[1] - range[0]) / texts.length;
  const most = Math.max(3, Math.floor(share / 6));
  return {
    kind: "words",
    at: (text) => texts.indexOf(text),
    place: (index) => range[0] + (index + 0.5) * share,
    // Each next mark goes a golden section of the width further: no two of a few meet.
    spread: (nth) => (((nth * 0.618 + 0.5) % 1) - 0.5) * share * 0.5,
    ticks: texts.map((_, index) => index),
    text: (index) =>
      texts[index].length > most ? `${texts[index].slice(0, most - 1)}…` : texts[index],
  };
}
