// One row per selected run: verdict, evidence, what to try, and where its files are.

function drawVerdicts() {
  const selected = store.get("selected");
  const rows = study.configurations.flatMap(({ runs }) =>
    runs.filter((run) => selected.has(run.index)),
  );
  const body = byId("verdicts").querySelector(".body");
  body.replaceChildren(
    scrollingTable(
      "Verdicts of the selected runs",
      ["run", "verdict", "evidence", "try", "files"],
      rows.map(verdictRow),
    ),
  );
}

function verdictRow(run) {
  const { verdict } = run;
  const configuration = study.configurations[run.configuration];
  return html(
    "tr",
    { "data-run": run.index, "data-configuration": run.configuration },
    html(
      "th",
      { scope: "row" },
      html(
        "span",
        { class: "label" },
        swatch(configuration),
        html("span", { class: "text" }, runLabel(run)),
        run.state === "finished" ? null : html("span", { class: "badge" }, run.state),
      ),
    ),
    html(
      "td",
      {},
      html(
        "span",
        { class: verdict && verdict.kind !== "healthy" ? "sick" : null },
        verdict?.kind ?? "–",
      ),
      verdict
        ? html("span", { class: "small" }, ` ${number(Number(verdict.confidence), 2)}`)
        : null,
      run.divergedAt === null
        ? null
        : html("div", { class: "small" }, `non-finite by step ${run.divergedAt}`),
    ),
    html(
      "td",
      { class: "evidence" },
      verdict?.evidence ?? "",
      [run.error, ...run.problems]
        .filter(Boolean)
        .map((text) => html("div", { class: "error" }, text)),
    ),
    html(
      "td",
      {},
      (verdict?.remedies ?? []).map((remedy) => html("code", {}, String(remedy))),
    ),
    html(
      "td",
      { class: "files" },
      html("a", { href: run.link }, "folder"),
      run.wandb ? html("div", {}, wandbLink(run)) : null,
    ),
  );
}

function wandbLink(run) {
  const { id, link } = run.wandb;
  return link
    ? html("a", { href: link, rel: "noreferrer" }, `W&B ${id}`)
    : html("span", { title: "the run's id in Weights & Biases" }, `W&B ${id}`);
}

function setUpVerdicts() {
  panel(
    "verdicts",
    "Verdicts",
    "Diagnosed from the gradient record alone. The number is the confidence: 0.5 at a threshold, near 1 far from it.",
  );
  store.on(["selected"], drawVerdicts);
}
