// Build the page once the data is unpacked.

let study, store;
const plots = {};

function summarize() {
  const states = counted(study.runs.map((run) => run.state)).join(", ");
  const thinned = study.runs.filter((run) => run.recorded > run.records.length).length;
  byId("summary").textContent =
    `${study.runs.length} runs of ${study.configurations.length} configurations; ${states}`;
  byId("notes").textContent =
    `Made ${study.made}. ` +
    "A run is shown by its latest record at or before the slider's step. " +
    (thinned
      ? `${thinned} runs have more records than the page can hold; it shows evenly spaced ones. `
      : "");
}

// Highlight one configuration; a rule of the style sheet dims the others.
function highlight() {
  const lit = store.get("lit");
  document.body.classList.toggle("has-lit", lit !== null);
  for (const element of document.querySelectorAll(".lit")) element.classList.remove("lit");
  if (lit === null) return;
  for (const element of document.querySelectorAll(`[data-configuration="${lit}"]`))
    element.classList.add("lit");
}

// Publish the page's state, read-only, for tests and for the console.
function publish() {
  const plain = (histogram) => histogram && { ...histogram, levels: [...histogram.levels] };
  window.gradflow = Object.freeze({
    steps: Object.freeze([...study.steps]),
    runs: Object.freeze(
      study.runs.map(({ name, state, configuration }) =>
        Object.freeze({ name, state, configuration }),
      ),
    ),
    step: () => currentStep(),
    selected: () => [...store.get("selected")].sort((a, b) => a - b),
    profile: (run, kind, step) =>
      study.profile(study.runs[run], kind, study.recordAt(study.runs[run], step)),
    histogram: (run, kind, tensor, step) =>
      plain(study.histogram(study.runs[run], kind, tensor, study.recordAt(study.runs[run], step))),
  });
}

async function start() {
  const { study: document_, read } = await unpack(byId("data").textContent);
  study = new Study(document_, read);
  store = new Store({
    selected: new Set(study.runs.map(({ index }) => index)),
    step: 0,
    seeds: "range",
    baseline: study.baselines.findIndex(({ own }) => own), // -1: none
    lit: null,
    filter: "",
    open: new Set(),
    sort: { column: null, descending: false },
    width: byId("plots").clientWidth,
  });
  summarize();
  setUpStyles();
  setUpClock();
  setUpRunTable();
  plots.curves = [
    new Curves("curve-a", ["train/loss"]),
    new Curves("curve-b", [`validation/${study.headlines[0]?.metric ?? "loss"}`, FIRST_OVER_LAST]),
  ];
  plots.profiles = [
    new Profiles("profile-gradient", GRADIENT, "Gradient profiles", "log₁₀ RMS of dL/dz"),
    new Profiles("profile-z", Z, "Profiles of z", "log₁₀ RMS of z"),
  ];
  plots.maps = new HeatMaps("heat-maps");
  plots.ridges = [new RidgesAcrossRuns("ridges-runs"), new RidgesAcrossLayers("ridges-layers")];
  setUpObjective();
  setUpVerdicts();
  setUpSettings();
  setUpKeyboard();
  for (const plot of [...plots.curves, ...plots.profiles, plots.maps]) plot.draw();
  for (const ridges of plots.ridges) ridges.update();
  drawVerdicts();
  drawDifferences();
  store.on(Object.keys(store.values), highlight);
  new ResizeObserver(() => store.set("width", byId("plots").clientWidth)).observe(byId("plots"));
  publish();
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  byId("summary").textContent = `The page could not be drawn: ${error.message}`;
  throw error;
});
