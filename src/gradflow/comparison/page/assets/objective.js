// The panel of the headline metric over each setting that differs, or of its difference to a baseline.
// A quantity is either of the two, as `headline.py` packs it: { runs, figures, percent, title }; only
// a difference has a title.

const OBJECTIVE_WIDTH = [340, 640]; // of one plot: the least and the most, in pixels

function setUpObjective() {
  const keys = objectiveKeys();
  byId("objective").hidden = !keys.length;
  if (!keys.length) return;
  const title = `${study.objective.metric} over each setting`;
  const body = panel("objective", title, "", study.baselines.length ? [baselineChoice()] : []);
  const note = byId("objective").querySelector(".note");
  const grid = html("div", { class: "objectives" });
  const line = html("p", { class: "readout" });
  body.append(grid, line);
  const say = () => {
    const configuration = study.configurations[store.get("lit")];
    line.textContent = configuration ? figuresText(configuration, shownQuantity()) : " ";
  };
  const draw = () => {
    const width = objectiveWidth(grid, keys.length);
    grid.replaceChildren(...keys.map((key) => objectivePlot(key, shownQuantity(), width)));
    note.textContent = objectiveNote(shownQuantity());
    say();
  };
  store.on(["selected", "width", "baseline"], draw);
  store.on(["lit"], say);
  draw();
}

// The settings that tell configurations apart; none unless two runs have an objective.
function objectiveKeys() {
  const rated = study.objective?.runs.filter((value) => value !== null) ?? [];
  if (rated.length < 2) return [];
  return study.keys.filter((key) => study.runs.some((run) => key in run.settings));
}

function baselineChoice() {
  const baselines = study.baselines.map(({ label }, place) => [String(place), label]);
  return choice(
    "baseline",
    [["-1", "none: the metric itself"], ...baselines],
    String(store.get("baseline")),
    (value) => store.set("baseline", Number(value)),
  );
}

const chosenBaseline = () => study.baselines[store.get("baseline")];
const shownQuantity = () => chosenBaseline() ?? study.objective;

// As many plots beside each other as fit.
function objectiveWidth(grid, plots) {
  const [least, most] = OBJECTIVE_WIDTH;
  const fitting = Math.floor((grid.clientWidth + 16) / (least + 16));
  const across = Math.max(1, Math.min(plots, fitting));
  return Math.min(most, Math.floor((grid.clientWidth - 16 * (across - 1)) / across));
}

function objectiveNote(quantity) {
  const several = quantity.figures.some(({ half }) => half !== null);
  const better = study.objective.direction === "max" ? "higher" : "lower";
  return (
    (quantity.title
      ? `Δ is ${quantity.title}: each run minus the run of the same seed that differs in this alone. The line at 0 is the baseline. `
      : "") +
    `One mark per run; ${better} is better. ` +
    (several
      ? "Larger marks: mean over seeds, with its 95 % t-interval, drawn if all seeds are shown. "
      : "") +
    (several && quantity.title ? "If an interval holds 0, the seeds show no clear difference. " : "") +
    (quantity.title
      ? "⊗: a run that diverged or did not finish, at its last value."
      : "A ⊗ at the edge is a run that diverged or did not finish.")
  );
}

// A value of a quantity with its unit, and half of its interval if known: "35.2 %",
// "+12.4 ± 6.8 points".
function quantityText(value, quantity, half = null) {
  const { percent, title } = quantity;
  const text = title ? gain(value, quantity) : percent ? fixed(100 * value, 1) : number(value, 4);
  const unit = title ? " points" : " %";
  return `${text}${half === null ? "" : ` ${plusMinus(half, quantity)}`}${percent ? unit : ""}`;
}

function figuresText(configuration, quantity) {
  const { n, mean: centre, half } = quantity.figures[configuration.index];
  if (centre === null) return `${configuration.label}: no value`;
  const text = quantityText(centre, quantity, half);
  return `${configuration.label}: ${text}${n > 1 ? `, n = ${n}` : ""}`;
}

// A difference, formatted as in the terminal's table.
function gain(value, { percent }) {
  return percent ? signed(100 * value, 1) : `${value >= 0 ? "+" : ""}${number(value, 3)}`;
}

// Half of an interval, likewise.
function plusMinus(half, { percent }) {
  return `± ${percent ? fixed(100 * half, 1) : number(half, 3)}`;
}
