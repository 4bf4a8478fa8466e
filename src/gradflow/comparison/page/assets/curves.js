// Curves of any metric over the steps: one line per configuration, with a band over its seeds, or one
// line per run.

const SMOOTHING = [
  ["0", "raw"],
  ["0.6", "EMA 0.6"],
  ["0.9", "EMA 0.9"],
];

class Curves {
  // Open with the first of the `wanted` metrics that some run has logged.
  constructor(id, wanted) {
    const isCurve = (metric) => study.runs.some((run) => run.curves[metric]?.steps.length > 2);
    this.metric = wanted.find(isCurve) ?? study.metrics.find(isCurve) ?? study.metrics[0];
    this.log = false;
    this.smoothing = 0;
    const redraw = () => this.draw();
    const set = (name) => (value) => {
      this[name] = value;
      redraw();
    };
    this.logBox = checkbox("log", false, set("log"));
    const metrics = study.metrics.map((name) => [name, name]);
    const body = panel(id, bareChoice("metric", metrics, this.metric, set("metric")), "", [
      this.logBox,
      bareChoice("smoothing", SMOOTHING, "0", (value) => set("smoothing")(Number(value))),
    ]);
    this.note = byId(id).querySelector(".note");
    this.plot = new LinePlot(body, {
      label: "Curves of a metric over the steps",
      xLabel: "step",
      readOut: (series) => this.readOut(series),
      describe: (series, step, value) => [
        name(series),
        `step ${step}`,
        `${this.metric} ${number(value, 4)}`,
      ],
    });
    store.on(["selected", "seeds", "width"], redraw);
    store.on(["step"], () => this.plot.moveCursor(currentStep()));
    store.on(["lit"], () => this.plot.say());
  }

  toggleLog() {
    this.logBox.querySelector("input").click();
  }

  draw() {
    const usable = (value) => Number.isFinite(value) && (!this.log || value > 0);
    const groups = selectedGroups()
      .map((group) => ({
        ...group,
        curves: group.runs
          .map((run) => run.curves[this.metric])
          .filter(Boolean)
          .map((curve) => smooth(curve, this.smoothing)),
      }))
      .filter(({ curves }) => curves.length);
    const series = groups.flatMap(({ configuration, runs, curves }) => {
      if (curves.length === 1) return [this.single(configuration, runs, curves[0], usable)];
      const { points, band } = overSeeds(curves, store.get("seeds"));
      const inLog = (value) => (usable(value) ? value : NaN);
      return [
        {
          configuration,
          runs,
          points: points.map(([step, value]) => [step, inLog(value)]),
          band: band.filter(([, low, high]) => usable(low) && usable(high)),
        },
      ];
    });
    const all = series
      .flatMap(({ points, band }) => [
        ...points.map(([, value]) => value),
        ...(band ?? []).flatMap(([, low, high]) => [low, high]),
      ])
      .filter(usable);
    const plotted = this.log ? all.map(Math.log10) : all;
    const yDomain = plotted.length ? widened([Math.min(...plotted), Math.max(...plotted)], 1e-9) : [0, 1];
    const last = Math.max(
      ...study.steps,
      ...series.flatMap(({ points }) => points.map(([step]) => step)),
      1,
    );
    this.plot.draw({
      series,
      xDomain: [0, last],
      yDomain,
      yLabel: this.label(),
      log: this.log,
      cursor: currentStep(),
    });
    this.note.textContent = this.noteText(groups, series);
  }

  single(configuration, runs, curve, usable) {
    const points = Array.from(curve.values, (value, i) => [
      curve.steps[i],
      usable(value) ? value : NaN,
    ]);
    const bad = Array.from(curve.steps).filter((_, i) => !Number.isFinite(curve.values[i]));
    return { configuration, runs, points, bad };
  }

  label() {
    return this.metric === FIRST_OVER_LAST ? `${this.metric}, decades` : this.metric;
  }

  readOut(series) {
    const step = currentStep();
    const known = series.points.filter(([, value]) => Number.isFinite(value));
    if (!known.length) return `${name(series)}: no finite value`;
    const [at, value] = known.reduce((best, point) =>
      Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best,
    );
    const band = (series.band ?? []).find(([where]) => where === at);
    return `${name(series)}: ${number(value, 4)} at step ${at}${band ? ` (${number(band[1], 3)} to ${number(band[2], 3)})` : ""}`;
  }

  noteText(groups, series) {
    const thinned = groups.some(({ curves }) =>
      curves.some(({ steps, logged }) => logged > steps.length),
    );
    const seeds = groups.some(({ curves }) => curves.length > 1)
      ? `${BANDS[store.get("seeds")]} `
      : "";
    const smoothed = this.smoothing
      ? `Exponential moving average, ${this.smoothing} a point, bias corrected. `
      : "";
    return (
      seeds +
      smoothed +
      (thinned ? "Long curves show the lowest and the highest point of each interval. " : "") +
      (this.log ? "Values of 0 and below are left out. " : "") +
      (series.some(({ bad }) => bad?.length) ? "!: NaN or Inf." : "")
    );
  }
}

const BANDS = {
  range: "Line: mean over seeds; band: minimum to maximum.",
  sd: "Line: mean over seeds; band: ± one standard deviation.",
  each: "One line per run.",
};

function name(series) {
  const { configuration, runs } = series;
  const seeds =
    configuration.runs.length > 1
      ? runs.length > 1
        ? `, n = ${runs.length}`
        : `, seed ${runs[0].seed}`
      : "";
  return `${series.overlay ? `${series.overlay}, ` : ""}${configuration.label}${series.overlay ? "" : seeds}`;
}

// The selected runs, grouped by line: one line per configuration, or one per run.
function selectedGroups() {
  const selected = store.get("selected");
  const groups = study.configurations
    .map((configuration) => ({
      configuration,
      runs: configuration.runs.filter(({ index }) => selected.has(index)),
    }))
    .filter(({ runs }) => runs.length);
  if (store.get("seeds") !== "each") return groups;
  return groups.flatMap(({ configuration, runs }) =>
    runs.map((run) => ({ configuration, runs: [run] })),
  );
}

const currentStep = () => study.steps[store.get("step")];

function smooth(curve, weight) {
  if (!weight) return curve;
  let sum = 0,
    total = 0;
  const values = Array.from(curve.values, (value) => {
    if (!Number.isFinite(value)) return value;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
  return { ...curve, values };
}

// Mean and band over curves at every step of any curve. A curve is interpolated between its own
// points, and left out beyond them.
function overSeeds(curves, band) {
  const steps = [...new Set(curves.flatMap((curve) => [...curve.steps]))].sort((a, b) => a - b);
  const known = curves.map((curve) => {
    const kept = Array.from(curve.values, (_, i) => i).filter((i) =>
      Number.isFinite(curve.values[i]),
    );
    return {
      steps: kept.map((i) => curve.steps[i]),
      values: kept.map((i) => curve.values[i]),
      at: 0,
    };
  });
  const rows = steps.map((step) => [
    step,
    known.map((curve) => interpolate(curve, step)).filter((value) => value !== null),
  ]);
  return summary(
    rows.filter(([, values]) => values.length),
    band,
  );
}

function summary(rows, band) {
  return {
    points: rows.map(([x, values]) => [x, mean(values)]),
    band: rows.map(([x, values]) => {
      if (band === "range") return [x, Math.min(...values), Math.max(...values)];
      const centre = mean(values),
        spread = deviation(values);
      return [x, centre - spread, centre + spread];
    }),
  };
}

// Calls come in the order of steps, so that `curve.at` only moves forward.
function interpolate(curve, step) {
  const { steps, values } = curve;
  if (!steps.length || step < steps[0] || step > steps[steps.length - 1]) return null;
  while (curve.at + 1 < steps.length && steps[curve.at + 1] <= step) curve.at++;
  const i = curve.at;
  if (steps[i] === step || i + 1 === steps.length) return values[i];
  const part = (step - steps[i]) / (steps[i + 1] - steps[i]);
  return values[i] + part * (values[i + 1] - values[i]);
}
