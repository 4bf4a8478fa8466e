// The settings that differ among the selected runs, and on request all settings of one run.

function drawDifferences() {
  const selected = store.get("selected");
  const runs = study.runs.filter(
    (run) => selected.has(run.index) && Object.keys(run.settings).length,
  );
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const differing = keys.filter((key) => new Set(runs.map((run) => run.settings[key])).size > 1);
  differing.sort((a, b) => (a === "seed") - (b === "seed")); // last, since there are many
  const body = byId("differences").querySelector(".body");
  if (!differing.length) {
    body.replaceChildren(
      html(
        "p",
        { class: "empty" },
        runs.length > 1 ? "no setting differs" : "select two runs or more",
      ),
    );
    return;
  }
  const rows = study.configurations
    .map((configuration) => [configuration, configuration.runs.filter((run) => runs.includes(run))])
    .filter(([, members]) => members.length);
  body.replaceChildren(
    scrollingTable(
      "Settings that differ",
      ["configuration", ...differing],
      rows.map(([configuration, members]) =>
        html(
          "tr",
          { "data-configuration": configuration.index },
          html(
            "th",
            { scope: "row" },
            html(
              "span",
              { class: "label" },
              swatch(configuration),
              html("span", { class: "text" }, configuration.label),
            ),
          ),
          differing.map((key) =>
            html("td", {}, [...new Set(members.map((run) => run.settings[key] ?? "–"))].join(", ")),
          ),
        ),
      ),
    ),
  );
}

class OneRun {
  constructor() {
    this.run = study.runs[0];
    this.body = panel(
      "settings",
      "All settings of one run",
      "Its config.yaml, and its times, host and versions.",
      [
        choice(
          "run",
          study.runs.map((run) => [String(run.index), runLabel(run)]),
          "0",
          (index) => {
            this.run = study.runs[index];
            this.draw();
          },
        ),
      ],
    );
    this.details = html("details", { ontoggle: () => this.draw() }, html("summary", {}, "show"));
    this.list = html("dl", { class: "settings" });
    this.config = html("pre", { class: "settings" });
    this.details.append(this.list, this.config);
    this.body.append(this.details);
  }

  draw() {
    if (!this.details.open) return;
    const pairs = [
      ["folder", this.run.name],
      ["state", this.run.state],
      ...Object.entries(this.run.made),
    ];
    this.list.replaceChildren(
      ...pairs.map(([key, value]) => html("div", {}, html("dt", {}, key), html("dd", {}, value))),
    );
    this.config.textContent = this.run.config || "config.yaml is missing";
  }
}

function setUpSettings() {
  panel(
    "differences",
    "Settings that differ",
    "Keys that differ among the selected runs. Several values belong to several seeds.",
  );
  store.on(["selected"], drawDifferences);
  new OneRun();
}
