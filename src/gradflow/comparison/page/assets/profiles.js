// Profiles of all selected runs on one pair of axes, at the slider's step. At step 0, the lines of
// the overlays are drawn, too.

class Profiles {
  constructor(id, kind, title, yLabel) {
    this.kind = kind;
    this.yLabel = yLabel;
    this.hidden = new Set(); // places of overlays
    this.still = true;
    const body = panel(id, title, "", [
      bareChoice(
        "axis",
        [
          ["still", "axis over all steps"],
          ["fit", "axis over this step"],
        ],
        "still",
        (value) => {
          this.still = value === "still";
          this.draw();
        },
      ),
      ...study.overlays.map(({ name }, place) =>
        checkbox(name, true, (on) => {
          if (on) this.hidden.delete(place);
          else this.hidden.add(place);
          this.draw();
        }),
      ),
    ]);
    this.note = byId(id).querySelector(".note");
    this.plot = new LinePlot(body, {
      label: `${title} of the selected runs`,
      xLabel: "layer, input to output (the last: logits)",
      markers: true,
      readOut: (series) => `${name(series)}: ${this.ends(series)} at step ${currentStep()}`,
      describe: (series, layer, value) => [
        name(series),
        `layer ${layer}: ${this.layerName(series, layer)}`,
        `log10 RMS ${fixed(value, 2)}`,
      ],
    });
    store.on(["selected", "seeds"], () => {
      this.domain = null;
      this.draw();
    });
    store.on(["step", "width"], () => this.draw());
    store.on(["lit"], () => this.plot.say());
  }

  draw() {
    const step = currentStep();
    const groups = selectedGroups();
    const series = groups.map((group) => this.one(group, step)).filter((s) => s.points.length);
    const drawn = [];
    for (const place of this.overlays(step)) {
      for (const configuration of new Set(groups.map((group) => group.configuration))) {
        const values = study.overlay(configuration, place, this.kind);
        const points = values.map((value, i) => [i + 1, value]);
        const { name: overlay } = study.overlays[place];
        const band = study
          .overlayBand(configuration, place, this.kind)
          .map(([low, high], i) => [i + 1, low, high])
          .filter(([, low, high]) => Number.isFinite(low) && Number.isFinite(high));
        if (points.length) drawn.push({ configuration, runs: [], points, band, overlay, place });
      }
    }
    this.domain ??= this.range(groups);
    const finite = [...series, ...drawn]
      .flatMap(({ points }) => points.map(([, value]) => value))
      .filter(Number.isFinite);
    const yDomain =
      this.still || !finite.length
        ? this.domain
        : widened([Math.min(...finite), Math.max(...finite)], 1);
    const layers = Math.max(2, ...series.map(({ points }) => points.length));
    this.plot.markers = series.length <= 12;
    this.plot.draw({
      series: [...series, ...drawn],
      xDomain: [1, layers],
      yDomain,
      yLabel: this.yLabel,
    });
    this.plot.svg.dataset.step = step;
    this.note.textContent = this.noteText(groups, series, drawn, step);
  }

  // The places of the overlays to draw: only at step 0, since they describe the start.
  overlays(step) {
    return step === 0 ? study.overlays.map((_, i) => i).filter((i) => !this.hidden.has(i)) : [];
  }

  one({ configuration, runs }, step) {
    const records = runs.map((run) => study.recordAt(run, step));
    const profiles = runs
      .map((run, i) => study.profile(run, this.kind, records[i]))
      .filter((p) => p.length);
    const n = Math.max(0, ...profiles.map((p) => p.length));
    const rows = Array.from({ length: n }, (_, i) => [
      i + 1,
      profiles.map((p) => p[i]).filter((v) => v !== null && v !== undefined),
    ]);
    const finite = rows.map(([layer, values]) => [layer, values.filter(Number.isFinite)]);
    const { points, band } = summary(finite, store.get("seeds"));
    return {
      configuration,
      runs,
      points,
      band: profiles.length > 1 ? band.filter(([, low]) => Number.isFinite(low)) : null,
      zeros: rows.filter(([, values]) => values.includes(-Infinity)).map(([layer]) => layer),
      bad: rows.filter(([, values]) => values.some(Number.isNaN)).map(([layer]) => layer),
      faint: runs.every((run) => run.records.length && run.records[run.records.length - 1] < step),
    };
  }

  // The range over all records, so that the axis stands still while the slider moves.
  range(groups) {
    let low = Infinity,
      high = -Infinity;
    const take = (value) => {
      if (!Number.isFinite(value)) return;
      if (value < low) low = value;
      if (value > high) high = value;
    };
    for (const { configuration, runs } of groups) {
      for (const place of study.overlays.keys())
        study.overlay(configuration, place, this.kind).forEach(take);
      for (const run of runs)
        run.profiles[this.kind]?.values.forEach((value) => take(study.decade(value)));
    }
    return low > high ? [-1, 1] : widened([low, high], 1);
  }

  ends(series) {
    const known = series.points.filter(([, value]) => Number.isFinite(value));
    if (!known.length) return "no finite layer";
    return `${fixed(known[0][1], 2)} at layer ${known[0][0]}, ${fixed(known[known.length - 1][1], 2)} at layer ${known[known.length - 1][0]}`;
  }

  layerName(series, layer) {
    const run = series.runs[0] ?? series.configuration.runs[0];
    return study.layers(run, this.kind)[layer - 1] ?? "?";
  }

  noteText(groups, series, drawn, step) {
    const parts = [`Step ${step}.`];
    if (groups.some(({ runs }) => runs.length > 1)) parts.push(BANDS[store.get("seeds")]);
    for (const place of this.overlays(step)) {
      const { name, note } = study.overlays[place];
      if (drawn.some((line) => line.place === place)) parts.push(note);
      const without = [...new Set(groups.map((group) => group.configuration))].filter(
        ({ overlays }) => overlays[place].reason,
      );
      if (without.length) parts.push(`No ${name} line: ${reasons(without, place)}.`);
    }
    if (series.some(({ zeros }) => zeros.length))
      parts.push("▾: exactly 0 (hidden).");
    if (series.some(({ bad }) => bad.length)) parts.push("!: NaN or Inf.");
    if (series.some(({ faint }) => faint))
      parts.push("Pale: the last record of a run that ended earlier.");
    return parts.join(" ");
  }
}

// The reasons why configurations have no line of an overlay, each reason once.
function reasons(configurations, place) {
  const grouped = new Map();
  for (const { label, overlays } of configurations) {
    const { reason } = overlays[place];
    grouped.set(reason, [...(grouped.get(reason) ?? []), label]);
  }
  return [...grouped]
    .map(
      ([reason, labels]) =>
        `${labels.length > 3 ? `${labels.length} configurations` : labels.join(", ")} (${reason})`,
    )
    .join("; ");
}
