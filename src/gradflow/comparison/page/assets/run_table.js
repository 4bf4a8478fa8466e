// The table of runs: legend, selection, and figures to sort by. One row per configuration; its runs
// unfold below it.

// The columns depend on the study and the chosen baseline.
let COLUMNS = [];

const columns = () => [
  {
    name: "label",
    title: () => study.keys.join(", "),
    sortKey: (runs) => study.configurations[runs[0].configuration].label,
  },
  {
    name: "n",
    title: () => "n",
    when: () => severalSeeds(),
    hint: "runs that differ only in the seed",
    numeric: true,
    sortKey: (runs) => runs.length,
  },
  {
    name: "decades",
    title: () => "decades",
    numeric: true,
    hint: "log10 of the RMS of dL/dz at the first nonlinearity over that at the last, before the first step",
    sortKey: (runs) => average(runs, (run) => study.start(run)),
    text: (runs) =>
      meanAndDeviation(
        counting(runs).map((run) => study.start(run)),
        1,
        true,
      ),
  },
  ...headlineColumns(),
  ...gainColumn(),
  {
    name: "verdict",
    title: () => "verdict",
    sortKey: (runs) => verdicts(runs).join(", "),
    text: (runs) => verdicts(runs).map((line) => html("div", { class: "line" }, line)),
  },
];

// The headline metrics, on two splits each.
function headlineColumns() {
  return study.headlines.flatMap(({ metric, percent }) =>
    ["train", "validation"].map((split) => ({
      name: study.headlines.length > 1 ? `${split}/${metric}` : split,
      title: () => {
        const short = split === "train" ? "train" : "valid.";
        return study.headlines.length > 1 || !percent ? `${short} ${metric}` : `${short} %`;
      },
      numeric: true,
      hint: `${split}/${metric}, last value${percent ? ", percent" : ""}`,
      sortKey: (runs) => average(runs, (run) => run.metrics[`${split}/${metric}`]),
      text: (runs) =>
        meanAndDeviation(
          counting(runs).map(
            (run) => (percent ? 100 : 1) * (run.metrics[`${split}/${metric}`] ?? NaN),
          ),
          percent ? 1 : 3,
        ),
    })),
  );
}

// The difference to the chosen baseline; a row of several seeds has their mean and its interval.
function gainColumn() {
  const quantity = chosenBaseline();
  if (!quantity) return [];
  const figures = (runs) => {
    const { configuration, index } = runs[0];
    const one = { n: 1, mean: quantity.runs[index], half: null };
    const whole = runs.length === study.configurations[configuration].runs.length;
    return whole ? quantity.figures[configuration] : one;
  };
  return [
    {
      name: "gain",
      title: () => (quantity.percent ? "Δ points" : "Δ"),
      numeric: true,
      hint: `${quantity.title}; ± half of the mean's 95 % t-interval`,
      sortKey: (runs) => figures(runs).mean ?? NaN,
      text: (runs) => {
        const { n, mean: centre, half } = figures(runs);
        if (centre === null) return "–";
        const several = half === null ? "" : plusMinus(half, quantity);
        const some = n < runs.length ? ` (n=${n})` : "";
        return [gain(centre, quantity), html("span", { class: "spread" }, several + some)];
      },
    },
  ];
}

// As in the terminal's table: unfinished runs count only if none has finished.
function counting(runs) {
  const finished = runs.filter((run) => run.state === "finished");
  return finished.length ? finished : runs;
}

function average(runs, valueOf) {
  const known = counting(runs)
    .map(valueOf).filter((value) => value !== undefined && !Number.isNaN(value));
  return known.length ? mean(known) : NaN;
}

// The different words, the most frequent first, with their counts if there are several.
function counted(words) {
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  return sorted.length === 1 ? [sorted[0][0]] : sorted.map(([word, n]) => `${n} ${word}`);
}

const verdicts = (runs) =>
  counted(runs.map((run) => run.verdict?.kind ?? (run.divergedAt === null ? "–" : "diverged")));

// Problems of a run other than its gradients: an unfinished state, and unreadable files.
function trouble(run) {
  const states = run.state === "finished" ? [] : [run.state];
  return [...states, ...(run.problems.length ? ["files damaged"] : [])];
}

const troubleText = (run) => [run.error, ...run.problems].filter(Boolean).join("; ");

function matches(configuration, words) {
  return words.every((word) => configuration.runs.some((run) => searchText(run).includes(word)));
}

const searchTexts = new Map();
function searchText(run) {
  if (!searchTexts.has(run.index)) {
    const settings = Object.entries(run.settings).map(([key, value]) => `${key}=${value}`);
    const words = [
      study.configurations[run.configuration].label,
      run.name,
      run.state,
      run.verdict?.kind,
      run.error,
      ...settings,
    ];
    searchTexts.set(run.index, words.filter(Boolean).join("\n").toLowerCase());
  }
  return searchTexts.get(run.index);
}

function shownConfigurations() {
  const words = store.get("filter").toLowerCase().split(/\s+/).filter(Boolean);
  const { column, descending } = store.get("sort");
  const rows = study.configurations.filter((configuration) => matches(configuration, words));
  const found = COLUMNS.find(({ name }) => name === column);
  if (!found) return rows;
  const key = (row) => found.sortKey(row.runs);
  const order = descending ? -1 : 1;
  return rows.sort((a, b) => {
    const [p, q] = [key(a), key(b)];
    if (typeof p === "string") return order * p.localeCompare(q, "en", { numeric: true });
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q);
    return order * (p === q ? 0 : p < q ? -1 : 1);
  });
}

function choose(runs, wanted) {
  const chosen = new Set(store.get("selected"));
  for (const run of runs) wanted ? chosen.add(run.index) : chosen.delete(run.index);
  store.set("selected", chosen);
}

const severalSeeds = () => study.configurations.some(({ runs }) => runs.length > 1);
const shownColumns = () => COLUMNS.filter(({ when }) => !when || when());

function drawRunTable() {
  const { column, descending } = store.get("sort");
  const heads = shownColumns().map(({ name, title, hint, numeric }) => {
    const sorted = name === column ? (descending ? "descending" : "ascending") : "none";
    const arrow = html(
      "span",
      { class: "arrow", "aria-hidden": "true" },
      { none: "", ascending: "↑", descending: "↓" }[sorted],
    );
    const press = () =>
      store.set("sort", { column: name, descending: name === column && !descending });
    return html(
      "th",
      { scope: "col", "aria-sort": sorted, class: numeric ? "numeric" : null },
      html(
        "button",
        { type: "button", title: hint, onclick: press, "data-sort": name },
        title(),
        arrow,
      ),
    );
  });
  const rows = shownConfigurations().flatMap((configuration) => {
    const open = store.get("open").has(configuration.index);
    return [
      tableRow(configuration, configuration.runs, false),
      ...(open ? configuration.runs.map((run) => tableRow(configuration, [run], true)) : []),
    ];
  });
  const focused = document.activeElement?.dataset?.focus ?? document.activeElement?.dataset?.sort;
  byId("runs").replaceChildren(
    html(
      "table",
      { class: "runs" },
      html("thead", {}, html("tr", {}, html("td", {}), heads)),
      html("tbody", {}, rows),
    ),
  );
  // Redrawing the table must not take the keyboard focus away from it.
  const again =
    focused && byId("runs").querySelector(`[data-focus="${focused}"],[data-sort="${focused}"]`);
  if (again) again.focus();
  markRunTable();
}

function tableRow(configuration, runs, isRun) {
  const name = isRun ? `seed ${runs[0].seed ?? "unknown"}` : configuration.label;
  const box = html("input", {
    type: "checkbox",
    "aria-label": `Show ${isRun ? `${configuration.label}, ` : ""}${name}`,
    "data-focus": isRun ? `run-${runs[0].index}` : `configuration-${configuration.index}`,
    onchange: () => choose(runs, box.checked),
  });
  const states = [...new Set(runs.flatMap(trouble))];
  const badges = states.map((state) => {
    const affected = runs.filter((run) => trouble(run).includes(state));
    const text = affected.length < runs.length ? `${affected.length} ${state}` : state;
    return html(
      "span",
      { class: "badge", title: affected.map(troubleText).filter(Boolean).join("\n") || state },
      text,
    );
  });
  const unfold = isRun
    ? ""
    : runs.length === 1
      ? "1"
      : html(
          "button",
          {
            type: "button",
            class: "unfold",
            "aria-expanded": String(store.get("open").has(configuration.index)),
            "aria-label": `Runs of ${name}`,
            "data-focus": `open-${configuration.index}`,
            onclick: () => {
              const open = new Set(store.get("open"));
              open.has(configuration.index)
                ? open.delete(configuration.index)
                : open.add(configuration.index);
              store.set("open", open);
            },
          },
          `${runs.length} ${store.get("open").has(configuration.index) ? "▾" : "▸"}`,
        );
  const light = () => store.set("lit", configuration.index);
  const dim = () => store.set("lit", null);
  const cells = shownColumns()
    .slice(1)
    .map(({ name: column, text, numeric }) =>
      html("td", { class: numeric ? "numeric" : null }, column === "n" ? unfold : text(runs)),
    );
  const error = isRun || runs.length === 1 ? troubleText(runs[0]) : "";
  return html(
    "tr",
    {
      class: isRun ? "run" : "configuration",
      "data-configuration": configuration.index,
      "data-run": isRun ? runs[0].index : null,
      onpointerenter: light,
      onpointerleave: dim,
      onfocusin: light,
      onfocusout: dim,
    },
    html("td", {}, box),
    html(
      "th",
      { scope: "row" },
      html(
        "span",
        { class: "label" },
        isRun ? null : swatch(configuration),
        html("span", { class: "text", title: name }, name),
      ),
      html("div", { class: "badges" }, badges),
      error ? html("div", { class: "error", title: error }, error) : null,
    ),
    cells,
  );
}

// Update the ticks and the dimmed rows without redrawing the table.
function markRunTable() {
  const selected = store.get("selected");
  for (const row of byId("runs").querySelectorAll("tbody tr")) {
    const run = row.dataset.run;
    const runs =
      run === undefined ? study.configurations[row.dataset.configuration].runs : [study.runs[run]];
    const chosen = runs.filter(({ index }) => selected.has(index)).length;
    const box = row.querySelector("input");
    box.checked = chosen === runs.length;
    box.indeterminate = chosen > 0 && chosen < runs.length;
    row.classList.toggle("off", !chosen);
  }
  byId("chosen").textContent = `${selected.size} of ${study.runs.length} runs shown`;
}

function setUpRunTable() {
  COLUMNS = columns();
  byId("columns").classList.toggle("compared", study.baselines.length > 0);
  store.on(["baseline"], () => {
    COLUMNS = columns();
    drawRunTable();
  });
  store.on(["sort", "open", "filter"], drawRunTable);
  store.on(["selected"], markRunTable);
  byId("filter").addEventListener("input", (event) => store.set("filter", event.target.value));
  const listed = () => shownConfigurations().flatMap(({ runs }) => runs);
  byId("all").addEventListener("click", () => choose(listed(), true));
  byId("none").addEventListener("click", () => choose(listed(), false));
  drawRunTable();
}
