// The settings that differ among the selected runs, and on demand all settings of one.

function drawDifferences() {
  const selected = store.get("selected");
  const runs = study.runs.filter((run) => selected.has(run.index) && Object.keys(run.settings).length);
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const differing = keys.filter((key) => new Set(runs.map((run) => run.settings[key])).size > 1 && !isChoiceItself(key, keys));
  differing.sort((a, b) => rank(a) - rank(b));
  const body = byId("differences").querySelector(".body");
  if (!differing.length) {
    body.replaceChildren(html("p", { class: "empty" }, runs.length > 1 ? "no setting differs" : "select two runs or more"));
    return;
  }
  const rows = study.configurations.map((configuration) => [configuration, configuration.runs.filter((run) => runs.includes(run))]).filter(([, of]) => of.length);
  body.replaceChildren(html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings that differ" }, html("table", { class: "plain" },
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "configuration"), differing.map((key) => html("th", { scope: "col" }, key.replace(/^axes\./, ""))))),
    html("tbody", {}, rows.map(([configuration, of]) => html("tr", { "data-configuration": configuration.index },
      html("th", { scope: "row" }, html("span", { class: "label" }, swatch(configuration), html("span", { class: "text" }, configuration.label))),
      differing.map((key) => html("td", {}, [...new Set(of.map((run) => run.settings[key] ?? "–"))].join(", ")))))))));
}

// The axes first, which say most; the seed, of which there are many, last.
const rank = (key) => (key.startsWith("axes.") ? 0 : key === "seed" ? 2 : 1);

// `activation=relu` says all that `activation._target_` does, and `remedy=relu` what its sentence does.
function isChoiceItself(key, keys) {
  if (/^(pathology|remedy)\./.test(key)) return true;
  return key.endsWith("._target_") && keys.includes(`axes.${key.replace("._target_", "")}`);
}

class OneRun {
  constructor() {
    this.run = study.runs[0];
    this.body = panel("settings", "All settings of one run", "As in its config.yaml; below, what it was made with.", [
      choice("run", study.runs.map((run) => [String(run.index), runLabel(run)]), "0", (index) => { this.run = study.runs[index]; this.draw(); }),
    ]);
    this.details = html("details", { ontoggle: () => this.draw() }, html("summary", {}, "show"));
    this.list = html("dl", { class: "settings" });
    this.details.append(this.list);
    this.body.append(this.details);
  }

  draw() {
    if (!this.details.open) return;
    const pairs = [["folder", this.run.name], ["state", this.run.state], ...Object.entries(this.run.settings), ...Object.entries(this.run.made)];
    this.list.replaceChildren(...pairs.map(([key, value]) => html("div", {}, html("dt", {}, key), html("dd", {}, String(value)))));
  }
}

function setUpSettings() {
  panel("differences", "Settings that differ", "Only keys that differ among the selected runs; several values are those of several seeds.");
  store.on(["selected"], drawDifferences);
  new OneRun();
}
